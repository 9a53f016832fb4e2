"""The Inventory page: the resources on the Docker hosts, with their sizes and what uses them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from infra_app import inventory_snapshots
from infra_app.models import Host
from infra_app.resources import Resource, ResourceKind, Usage, resources
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.downloads import download, requested_format
from zenith_site.common.pages import render_page

#: Most rows on the page; downloads have all.
ROWS: Final = 500
COLUMNS: Final[list[tuple[str, Callable[[Resource], Any]]]] = [
    ("type", lambda resource: resource.kind),
    ("id", lambda resource: resource.id),
    ("name", lambda resource: resource.name),
    ("status", lambda resource: resource.status),
    ("use", lambda resource: resource.use),
    ("size_bytes", lambda resource: resource.size),
    ("host", lambda resource: resource.host),
    ("about", lambda resource: resource.about),
    ("used_by", lambda resource: resource.used_by),
]


@dataclass(frozen=True)
class Filter:
    """The page's filters; empty means any."""

    kind: str = ""
    host: str = ""
    use: str = ""
    q: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> "Filter":
        """Return the filters in the query string; invalid values are ignored."""
        kind, use = request.GET.get("kind", ""), request.GET.get("use", "")
        return cls(
            kind=kind if kind in list(ResourceKind) else "", host=request.GET.get("host", "")[:63],
            use=use if use in list(Usage) else "", q=request.GET.get("q", "").strip()[:200],
        )  # fmt: skip

    def matches(self, resource: Resource) -> bool:
        """Whether a resource passes all filters."""
        return (
            self.kind in ("", resource.kind)
            and self.host in ("", resource.host)
            and self.use in ("", resource.use)
            and (not self.q or resource.matches(self.q))
        )

    def url(self, **changes: str) -> str:
        """Return the query string of these filters with some changed."""
        values = {**vars(self), **changes}
        return "?" + urlencode({name: value for name, value in values.items() if value})


@require_safe
def inventory(request: HttpRequest) -> HttpResponseBase:
    """Containers, images, volumes and networks of every host."""
    authorize(request, VIEW)
    filters, snapshots = Filter.of(request), inventory_snapshots.snapshots()
    all_resources = resources(snapshots)
    rows = [resource for resource in all_resources if filters.matches(resource)]
    if kind := requested_format(request):
        return download(kind, "inventory", COLUMNS, rows)
    # Docker's own networks are only listed if one looks for networks.
    shown = rows if filters.kind == ResourceKind.NETWORK or filters.q else [row for row in rows if not _is_noise(row)] or rows
    context = {
        "snapshots": snapshots,
        "rows": shown[:ROWS],
        "more": max(0, len(shown) - ROWS),
        "folded": [row for row in rows if _is_noise(row)] if len(shown) < len(rows) else [],
        "networks_url": filters.url(kind=ResourceKind.NETWORK.value),
        "agents": [found.name for found in Host.objects.all() if found.agent_online] if not all_resources else [],
        "total": sum(resource.size or 0 for resource in rows),
        "reclaimable": sum(resource.size or 0 for resource in all_resources if resource.use is Usage.DANGLING),
        "filters": filters,
        "uses": list(Usage),
        "tabs": _tabs(all_resources, filters),
        "filtered": bool(all_resources) and filters != Filter(),
        "file_query": filters.url(),
    }
    return render_page(request, "inventory/inventory.html", context, fragments=["inventory/_inventory.html"])


def _is_noise(resource: Resource) -> bool:
    return resource.kind is ResourceKind.NETWORK and inventory_snapshots.is_noise(resource.name, is_used=bool(resource.used_by))


def _tabs(all_resources: list[Resource], filters: Filter) -> list[dict[str, Any]]:
    def tab(label: str, kind: str) -> dict[str, Any]:
        count = sum(replace(filters, kind=kind).matches(resource) for resource in all_resources)
        return {"label": label, "url": filters.url(kind=kind), "count": count, "current": filters.kind == kind}

    return [tab("All", ""), *(tab(kind.label, kind.value) for kind in ResourceKind)]
