"""Docker hosts and the worker nodes on them."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from infra_app.models import Host, Node
from infra_app.states import NodeStatus
from zenith_site.metrics.sources import register


def nodes() -> Iterator[Metric]:
    """Yield how many there are, by how they are. Two queries. Raises django.db.Error."""
    hosts = Counter("online" if host.online else "unreachable" for host in Host.objects.only("seen_at", "engine_error"))
    family = GaugeMetricFamily("zenith_hosts", "Docker hosts, by whether agent and engine answer.", labels=("state",))
    for state in ("online", "unreachable"):
        family.add_metric((state,), hosts[state])
    yield family
    there = Node.objects.exclude(status=NodeStatus.REMOVED).select_related("host")
    counts = Counter(node.shown_status for node in there)
    family = GaugeMetricFamily("zenith_nodes", "Worker nodes, by status.", labels=("status",))
    for status in NodeStatus:
        if status is not NodeStatus.REMOVED:
            family.add_metric((status.value,), counts[status])
    yield family


register("nodes", nodes)
