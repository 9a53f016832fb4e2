"""Notification rules of hosts and nodes."""

from django.conf import settings
from django.utils import timezone

from infra_app.models import Host, Node
from infra_app.states import NodeStatus
from zenith_site.common.site_paths import page_path
from zenith_site.notify import decisions
from zenith_site.notify.decisions import Evaluation, HostStatus
from zenith_site.notify.kinds import NotificationKind, Severity
from zenith_site.notify.rules import Rule, page, register


def _nodes_failed(open_keys: frozenset[str]) -> Evaluation:
    failed = {
        str(id_): (name, reason)
        for id_, name, reason in Node.objects.filter(status=NodeStatus.FAILED).values_list("id", "name", "reason")
    }
    open_nodes = Node.objects.filter(id__in=open_keys).exclude(status=NodeStatus.REMOVED).values_list("id", "status")
    now = {str(id_): str(NodeStatus(status).label).lower() for id_, status in open_nodes}
    return decisions.nodes_failed(failed, now, open_keys, page("infra:node"))


def _hosts_unreachable(open_keys: frozenset[str]) -> Evaluation:
    now = timezone.now()
    hosts = [
        HostStatus(name, None if seen_at is None else (now - seen_at).total_seconds(), engine_error)
        for name, seen_at, engine_error in Host.objects.values_list("name", "seen_at", "engine_error")
    ]
    return decisions.hosts_unreachable(
        hosts, open_keys, lambda _: page_path("infra:nodes"), settings.ZENITH_NOTIFY_HOST_UNREACHABLE
    )


register(
    Rule(NotificationKind.NODE_FAILED, Severity.CRITICAL, _nodes_failed, for_=0.0),
    Rule(NotificationKind.HOST_UNREACHABLE, Severity.CRITICAL, _hosts_unreachable),
)
