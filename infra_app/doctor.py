"""Checks of Docker hosts: whether their agents are online and reach their engines."""

from collections.abc import Iterator

from django.conf import settings

from infra_app.images import is_pattern
from infra_app.masked_environment import left_out
from infra_app.models import Host, NodeGroup
from zenith_site.doctor.registry import POSTGRESQL, Finding, check, error, warning


@check("Docker hosts", POSTGRESQL)
def hosts() -> Iterator[Finding]:
    """Each host's agent is online and reaches its engine."""
    for host in Host.objects.all():
        if not host.agent_online:
            yield warning(
                f"The agent of Docker host {host.name} is offline", "run `manage.py run_agent` for that host, or forget the host"
            )
        elif host.engine_error:
            yield error(
                f"The agent of {host.name} cannot reach its engine: {host.engine_error}",
                "check it there: `systemctl status docker`",
            )


@check("images of nodes")
def images() -> Iterator[Finding]:
    """Each pattern in ZENITH_ALLOWED_IMAGES can match an image."""
    for pattern in settings.ZENITH_ALLOWED_IMAGES:
        if not is_pattern(pattern):
            yield error(
                f"ZENITH_ALLOWED_IMAGES contains {pattern!r}, which is neither an image nor a pattern of images",
                "write it like registry.example.com/zenith/*:1.4; docs/nodes.md has the rules",
            )


@check("Variables of nodes", POSTGRESQL)
def variables() -> Iterator[Finding]:
    """Each group's nodes get all variables that are stored with the group."""
    for group in NodeGroup.objects.filter(removed_at=None).order_by("name"):
        for reason in left_out(group):
            yield warning(
                f"Not passed to the nodes of {group.name}: {reason}",
                "allow it in ZENITH_NODE_ENVIRONMENT, or remove it from the group",
            )
