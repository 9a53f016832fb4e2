"""The Inventory page: what the Docker hosts really hold, with sizes, and who uses what."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from infra_app import inventory_snapshots
from infra_app.resources import Resource, ResourceKind, Usage, resources
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.downloads import download, requested_format
from zenith_site.common.pages import render_page

#: Rows of the page at most; the files have all.
ROWS: Final = 500
COLUMNS: Final[list[tuple[str, Callable[[Resource], Any]]]] = [
    ("type", lambda held: held.kind),
    ("id", lambda held: held.id),
    ("name", lambda held: held.name),
    ("status", lambda held: held.status),
    ("use", lambda held: held.use),
    ("size_bytes", lambda held: held.size),
    ("host", lambda held: held.host),
    ("about", lambda held: held.about),
    ("used_by", lambda held: held.used_by),
]


@dataclass(frozen=True)
class Filter:
    """Which rows; empty means any."""

    kind: str = ""
    host: str = ""
    use: str = ""
    q: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> "Filter":
        """Return the filter that the address names; what it names wrongly counts as not named."""
        kind, use = request.GET.get("kind", ""), request.GET.get("use", "")
        return cls(
            kind=kind if kind in list(ResourceKind) else "", host=request.GET.get("host", "")[:63],
            use=use if use in list(Usage) else "", q=request.GET.get("q", "").strip()[:200],
        )  # fmt: skip

    def lets_through(self, held: Resource) -> bool:
        """Whether a row is meant."""
        return (
            self.kind in ("", held.kind)
            and self.host in ("", held.host)
            and self.use in ("", held.use)
            and (not self.q or held.matches(self.q))
        )

    def url(self, **changes: str) -> str:
        """Return the address of this filter with changes."""
        given = {**vars(self), **changes}
        return "?" + urlencode({name: value for name, value in given.items() if value})


@require_safe
def inventory(request: HttpRequest) -> HttpResponseBase:
    """Containers, images, volumes and networks of every host."""
    authorize(request, VIEW)
    chosen, snapshots = Filter.of(request), inventory_snapshots.snapshots()
    everything = resources(snapshots)
    rows = [held for held in everything if chosen.lets_through(held)]
    if kind := requested_format(request):
        return download(kind, "inventory", COLUMNS, rows)
    context = {
        "snapshots": snapshots,
        "rows": rows[:ROWS],
        "more": max(0, len(rows) - ROWS),
        "total": sum(held.size or 0 for held in rows),
        "reclaimable": sum(held.size or 0 for held in everything if held.use is Usage.DANGLING),
        "chosen": chosen,
        "uses": list(Usage),
        "tabs": _tabs(everything, chosen),
        "filtered": bool(everything) and chosen != Filter(),
        "file_query": chosen.url(),
    }
    return render_page(request, "inventory/inventory.html", context, fragments=["inventory/_inventory.html"])


def _tabs(everything: list[Resource], chosen: Filter) -> list[dict[str, Any]]:
    def tab(label: str, kind: str) -> dict[str, Any]:
        count = sum(replace(chosen, kind=kind).lets_through(held) for held in everything)
        return {"label": label, "url": chosen.url(kind=kind), "count": count, "current": chosen.kind == kind}

    return [tab("All", ""), *(tab(kind.label, kind.value) for kind in ResourceKind)]
