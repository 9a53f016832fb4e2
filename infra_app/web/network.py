"""The Network page: a map of each host's networks and containers, and the same data as tables."""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from infra_app import inventory_snapshots
from infra_app.inventory_snapshots import Container, is_noise
from infra_app.models import Host, HostSnapshot
from infra_app.types import NetworkSeen
from infra_app.web.network_map import network_map
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.downloads import download, requested_format
from zenith_site.common.pages import render_page

COLUMNS: Final[list[tuple[str, Callable[[Container], Any]]]] = [
    ("id", lambda container: container.id),
    ("name", lambda container: container.name),
    ("ip", lambda container: container.ip),
    ("status", lambda container: container.status),
    ("uptime_seconds", lambda container: container.uptime),
    ("networks", lambda container: container.networks),
    ("ports", lambda container: container.ports),
    ("host", lambda container: container.host),
]


@require_safe
def network(request: HttpRequest) -> HttpResponseBase:
    """Containers with their addresses and ports, and the networks with their members."""
    authorize(request, VIEW)
    snapshots = inventory_snapshots.snapshots()
    host = request.GET.get("host", "")[:63]
    selected_snapshots = [snapshot for snapshot in snapshots if host in ("", snapshot.host.name)]
    containers = list(inventory_snapshots.containers(selected_snapshots))
    if kind := requested_format(request):
        return download(kind, "network", COLUMNS, containers)
    networks = [(snapshot.host.name, network) for snapshot in selected_snapshots for network in snapshot.networks]
    context = {
        "snapshots": snapshots,
        "networks": [pair for pair in networks if not _is_noise(pair[1])],
        "folded": [pair for pair in networks if _is_noise(pair[1])],
        "agents": [found.name for found in Host.objects.all() if found.agent_online] if not containers else [],
        "selected_snapshots": selected_snapshots,
        "host": host,
        "containers": containers,
        "maps": [drawn for snapshot in selected_snapshots if (drawn := network_map(snapshot))],
        "file_query": f"host={host}&" if host and selected_snapshots else "",
        "tabs": _tabs(snapshots, host),
    }
    return render_page(request, "network/network.html", context, fragments=["network/_network.html"])


def _is_noise(network: NetworkSeen) -> bool:
    return is_noise(network["name"], is_used=bool(network["members"]))


def _tabs(snapshots: list[HostSnapshot], host: str) -> list[dict[str, Any]]:
    tabs: list[dict[str, Any]] = [{"label": "All hosts", "url": "?", "count": None, "current": not host}]
    for snapshot in snapshots:
        name = snapshot.host.name
        tabs.append({"label": name, "url": f"?host={name}", "count": len(snapshot.containers), "current": host == name})
    return tabs
