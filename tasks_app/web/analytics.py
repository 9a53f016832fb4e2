"""How much was done, how well and how fast, over any time: charts, tables, and a map of the day. All of it from rollups."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from tasks_app import catalog
from tasks_app.analytics import figures
from tasks_app.analytics.figures import Order
from tasks_app.analytics.rollups import Totals, Which
from tasks_app.analytics.window import MAX_POINTS, Bucket, Preset, seconds_of
from tasks_app.maintenance.compaction import Watermarks, watermarks
from tasks_app.web import outcome_charts
from tasks_app.web.charts import Chart, Unit
from tasks_app.web.heatmap import heatmap
from tasks_app.web.outcome_charts import MEASURES
from tasks_app.web.ranges import LABELS, Range, requested_range
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.downloads import MOST, download, wanted
from zenith_site.common.pages import render_page

#: Rows of a table at most; the files have all.
ROWS: Final = 15
#: Lines that a comparison has at most.
COMPARED: Final = 6
#: What stands in the address besides the time.
KEPT: Final = ("task", "queue", "sort", "series", "group")
#: Fields that the page's forms have themselves.
HIDDEN: Final = {"filter": ("task", "queue"), "comparison": ("series", "group", "bucket")}
GROUPS: Final = {"task": "Each task", "queue": "Each queue", "all": "All together"}
ORDERS: Final = {
    Order.BUSIEST: "Busiest",
    Order.SLOWEST: "Slowest",
    Order.FAILING: "Most failing",
    Order.WAITING: "Longest waiting",
}
_Point = tuple[datetime, Totals]
_Summary = list[tuple[str, Totals]]
COLUMNS: Final[list[tuple[str, Callable[[tuple[Any, Totals]], Any]]]] = [
    ("succeeded", lambda point: point[1].succeeded),
    ("failed", lambda point: point[1].failed),
    ("revoked", lambda point: point[1].revoked),
    ("retried", lambda point: point[1].retried),
    ("success_rate", lambda point: point[1].success_rate),
    ("runtime_p50_seconds", lambda point: point[1].runtime(0.5)),
    ("runtime_p95_seconds", lambda point: point[1].runtime(0.95)),
    ("runtime_p99_seconds", lambda point: point[1].runtime(0.99)),
    ("waiting_p50_seconds", lambda point: point[1].waiting(0.5)),
    ("waiting_p95_seconds", lambda point: point[1].waiting(0.95)),
]


class TableRow(NamedTuple):
    """One task or queue in a table, with the queries of its own figures, and of the lists that its numbers count.

    `slowest` are the tasks that the runtimes are of, the slowest first; `retried` is one of the events, not bound to the time.
    """

    name: str
    totals: Totals
    own: str
    finished: str
    failed: str
    succeeded: str
    slowest: str
    retried: str

    @property
    def runtimes(self) -> list[float | None]:
        """Seconds: p50, p95 and p99."""
        return [self.totals.runtime(share) for share in (0.5, 0.95, 0.99)]

    @property
    def waits(self) -> list[float | None]:
        """Seconds: p50 and p95."""
        return [self.totals.waiting(share) for share in (0.5, 0.95)]


@require_safe
def analytics_page(request: HttpRequest) -> HttpResponseBase:
    """Throughput, success, runtimes and waiting times, in all or of one task or queue."""
    authorize(request, VIEW)
    which = Which(*(request.GET.get(name, "")[:200].replace("\0", "") for name in ("task", "queue")))
    order = Order(request.GET["sort"]) if request.GET.get("sort") in list(Order) else Order.BUSIEST
    kept = {name: request.GET[name] for name in KEPT if request.GET.get(name)}
    shown = requested_range(request, list(LABELS), Preset.H24, kept)
    if kind := wanted(request):
        return _file(kind, request.GET.get("list", ""), shown, which, order)
    known = watermarks()
    points = figures.series(shown.span, which, known=known)
    tasks, queues = figures.summaries(shown.span, which, order=order, limit=ROWS, known=known)
    total = figures.summed(points)
    context = {
        "total": TableRow("", total, "", *_links(shown, which)),
        "minutes": shown.span.minutes,
        "charts": _charts(shown, points),
        "tasks": [_row(name, totals, "task", shown, which) for name, totals in tasks],
        "queues": [_row(name, totals, "queue", shown, which) for name, totals in queues],
        "heat": heatmap(shown, which, known),
        "which": which,
        "order": order.value,
        "range": shown,
        "all_query": shown.query_with(task="", queue=""),
        "orders": [_tab(shown, "sort", item.value, label, order.value) for item, label in ORDERS.items()],
        "names": [name for name, _ in tasks] + sorted(set(catalog.entries()) - {name for name, _ in tasks}),
        "queue_names": [name for name, _ in queues],
        **_comparison(request, shown, which, {"task": tasks, "queue": queues, "all": [("All", total)]}, points, known),
    }
    return render_page(request, "analytics/analytics.html", context, fragments=["analytics/_analytics.html"])


def _file(kind: str, list_: str, shown: Range, which: Which, order: Order) -> StreamingHttpResponse:
    """Return the series as a file, or the whole table of tasks or queues."""
    if list_ in ("task", "queue"):
        found = figures.summary(shown.span, which, by=list_, order=order, limit=MOST)
        return download(kind, f"analytics-{list_}s", [(list_, lambda row: row[0]), *COLUMNS], found)
    return download(kind, "analytics", [("since", lambda row: row[0]), *COLUMNS], figures.series(shown.span, which))


def _charts(shown: Range, points: list[_Point]) -> list[Chart]:
    load = figures.load(shown.span, {int(at.timestamp()): total for at, total in points})
    return [
        outcome_charts.throughput(shown.span, points),
        outcome_charts.efficiency(shown.span, load),
        outcome_charts.runtimes(shown.span, points),
        outcome_charts.waits(shown.span, points),
    ]


def _comparison(
    request: HttpRequest, shown: Range, which: Which, found: Mapping[str, _Summary], points: list[_Point], known: Watermarks
) -> dict[str, Any]:
    """Return the chart of one measure, a line for each of the first tasks or queues of the tables, and its choices."""
    series = request.GET["series"] if request.GET.get("series") in MEASURES else "finished"
    group = request.GET["group"] if request.GET.get("group") in GROUPS else "task"
    names = [name for name, _ in found[group][:COMPARED]]
    if group == "all":
        totals = {"All": [total for _, total in points]}
    else:
        timed = MEASURES[series].unit is Unit.SECONDS
        totals = figures.series_of(shown.span, which, by=group, names=names, histograms=timed, known=known) if names else {}
    length = shown.span.until - shown.span.since
    return {
        "compared": outcome_charts.compared(shown.span, totals, MEASURES[series]),
        "hidden": {name: shown.pairs(*without) for name, without in HIDDEN.items()},
        "measures": [(name, measure.label, name == series) for name, measure in MEASURES.items()],
        "groups": [(name, label, name == group) for name, label in GROUPS.items()],
        "periods": [(bucket.value, bucket == shown.bucket) for bucket in Bucket if 2 <= length / seconds_of(bucket) < MAX_POINTS],
    }


def _row(name: str, totals: Totals, by: str, shown: Range, which: Which) -> TableRow:
    only = Which(name, which.queue) if by == "task" else Which(which.task, name)
    return TableRow(name, totals, shown.query_with(**{by: name}), *(_links(shown, only) if name else [""] * 5))


def _links(shown: Range, which: Which) -> list[str]:
    """Return the queries of a Row: what finished, failed and succeeded, the slowest first, and what was retried."""
    finished = shown.ended(*which.terms, "status:SUCCESS", "status:FAILURE")
    chosen = {"status": "RETRY", "task": which.task, "queue": which.queue}
    return [
        finished,
        shown.ended(*which.terms, "status:FAILURE"),
        shown.ended(*which.terms, "status:SUCCESS"),
        f"{finished}&sort=-runtime",
        urlencode({name: value for name, value in chosen.items() if value}),
    ]


def _tab(shown: Range, name: str, value: str, label: str, now: str) -> dict[str, Any]:
    return {"label": label, "url": f"?{shown.query_with(**{name: value})}", "count": None, "current": value == now, "status": ""}
