"""Metrics of Docker hosts and worker nodes."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from infra_app.models import Host, Node
from infra_app.states import NodeStatus
from zenith_site.metrics.sources import register


def nodes() -> Iterator[Metric]:
    """Yield the numbers of hosts by state and of nodes by status. Two queries. Raises django.db.Error."""
    hosts = Counter("online" if host.online else "unreachable" for host in Host.objects.only("seen_at", "engine_error"))
    family = GaugeMetricFamily("zenith_hosts", "Docker hosts, by whether agent and engine answer.", labels=("state",))
    for state in ("online", "unreachable"):
        family.add_metric((state,), hosts[state])
    yield family
    nodes_present = Node.objects.exclude(status=NodeStatus.REMOVED).select_related("host")
    counts = Counter(node.shown_status for node in nodes_present)
    family = GaugeMetricFamily("zenith_nodes", "Worker nodes, by status.", labels=("status",))
    for status in NodeStatus:
        if status is not NodeStatus.REMOVED:
            family.add_metric((status.value,), counts[status])
    yield family


register("nodes", nodes)
