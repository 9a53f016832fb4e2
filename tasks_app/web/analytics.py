"""The Analytics page: charts, tables and a heat map of throughput, success and times over any period, all from rollups."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from tasks_app import catalog
from tasks_app.analytics import figures
from tasks_app.analytics.figures import Order
from tasks_app.analytics.rollups import RollupFilter, Totals
from tasks_app.analytics.window import MAX_POINTS, Bucket, filled_preset, seconds_of
from tasks_app.maintenance.compaction import Watermarks, watermarks
from tasks_app.queries.application_names import several_names
from tasks_app.web import outcome_charts
from tasks_app.web.application_switch import narrowed
from tasks_app.web.charts import Chart, Unit
from tasks_app.web.heatmap import heatmap
from tasks_app.web.outcome_charts import MEASURES
from tasks_app.web.ranges import LABELS, Range, requested_range
from zenith_site.common.callers import VIEW, Caller, Shows, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.pages import render_page
from zenith_worker.wire.applications import NATIVE_NAME

#: Rows of a table at most; downloads have all.
ROWS: Final = 15
#: Lines of a comparison at most.
COMPARED: Final = 6
#: Parameters of the address besides the period.
KEPT: Final = ("task", "queue", "application", "sort", "series", "group")
#: Those that select tasks.
SELECTED: Final = ("task", "queue", "application")
#: Parameters for which the page's forms have fields of their own, by form.
HIDDEN: Final = {"filter": ("task", "queue", "application"), "comparison": ("series", "group", "bucket")}
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
#: The same for the tables, which also tell what tasks used.
USED: Final[list[tuple[str, Callable[[Any], Any]]]] = [
    ("cpu_p50_seconds", lambda row: row[1].cpu(0.5)),
    ("cpu_p95_seconds", lambda row: row[1].cpu(0.95)),
    ("memory_p50_bytes", lambda row: row[1].memory(0.5)),
    ("memory_p95_bytes", lambda row: row[1].memory(0.95)),
]


class TableRow(NamedTuple):
    """One task or queue in a table, with the queries of its own figures and of the lists behind its numbers.

    `slowest` lists the tasks behind the runtimes, slowest first; `retried` lists events, of any time.
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
        """Return the runtimes p50, p95 and p99, in seconds."""
        return [self.totals.runtime(share) for share in (0.5, 0.95, 0.99)]

    @property
    def waits(self) -> list[float | None]:
        """Return the waiting times p50 and p95, in seconds."""
        return [self.totals.waiting(share) for share in (0.5, 0.95)]

    @property
    def cpu(self) -> list[float | None]:
        """Return the CPU times p50 and p95, in seconds."""
        return [self.totals.cpu(share) for share in (0.5, 0.95)]

    @property
    def memory(self) -> list[int | None]:
        """Return the largest memory p50 and p95, in bytes."""
        return [self.totals.memory(share) for share in (0.5, 0.95)]


@require_safe
@narrowed()
def analytics_page(request: HttpRequest) -> HttpResponseBase:
    """Show throughput, success, runtimes and waiting times, in total or for one task or queue."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    words = {name: request.GET.get(name, "")[:200].replace("\0", "") for name in SELECTED}
    selection = RollupFilter(**words, visible=caller.applications)
    order = Order(request.GET["sort"]) if request.GET.get("sort") in list(Order) else Order.BUSIEST
    kept = {name: request.GET[name] for name in KEPT if request.GET.get(name)}
    # A young system would have isolated dots in a day's chart.
    marks = watermarks()
    period = requested_range(request, list(LABELS), filled_preset(marks.oldest), kept)
    if kind := requested_format(request):
        return _file(kind, request.GET.get("list", ""), period, selection, order)
    points = figures.series(period.span, selection, marks=marks)
    tasks, queues = figures.summaries(period.span, selection, order=order, limit=ROWS, marks=marks)
    total = figures.summed(points)
    context = {
        "total": TableRow("", total, "", *_links(period, selection)),
        "minutes": period.span.minutes,
        "charts": _charts(period, selection, points, total),
        "tasks": [_row(name, totals, "task", period, selection) for name, totals in tasks],
        "queues": [_row(name, totals, "queue", period, selection) for name, totals in queues],
        "heat": heatmap(period, selection, marks),
        "selection": selection,
        "order": order.value,
        "range": period,
        "applications": several_names(caller.applications),
        "all_query": period.query_with(**dict.fromkeys(SELECTED, "")),
        "orders": [_tab(period, "sort", item.value, label, order.value) for item, label in ORDERS.items()],
        "names": [name for name, _ in tasks] + sorted(_own_names(caller) - {name for name, _ in tasks}),
        "queue_names": [name for name, _ in queues],
        **_comparison(request, period, selection, {"task": tasks, "queue": queues, "all": [("All", total)]}, points, marks),
    }
    return render_page(request, "analytics/analytics.html", context, fragments=["analytics/_analytics.html"])


def _own_names(caller: Caller) -> set[str]:
    """Return the names of the tasks of Zenith's own application, if the caller may see that."""
    return set(catalog.suggested()) if caller.sees(NATIVE_NAME) else set()


def _file(kind: str, list_: str, period: Range, selection: RollupFilter, order: Order) -> StreamingHttpResponse:
    """Return a download of the series, or of the whole table of tasks or queues."""
    if list_ in ("task", "queue"):
        rows = figures.summary(period.span, selection, by=list_, order=order, limit=MOST)
        return download(kind, f"analytics-{list_}s", [(list_, lambda row: row[0]), *COLUMNS, *USED], rows)
    return download(kind, "analytics", [("since", lambda row: row[0]), *COLUMNS], figures.series(period.span, selection))


def _charts(period: Range, selection: RollupFilter, points: list[_Point], total: Totals) -> list[Chart]:
    load = figures.load(period.span, selection, {int(at.timestamp()): totals for at, totals in points})
    return [
        outcome_charts.throughput(period.span, points, total),
        outcome_charts.efficiency(period.span, load, total),
        outcome_charts.runtimes(period.span, points, total),
        outcome_charts.waiting_times(period.span, points, total),
    ]


def _comparison(
    request: HttpRequest,
    period: Range,
    selection: RollupFilter,
    summaries: Mapping[str, _Summary],
    points: list[_Point],
    marks: Watermarks,
) -> dict[str, Any]:
    """Return the chart of one measure, with a line for each of the tables' first tasks or queues, and its options."""
    series = request.GET["series"] if request.GET.get("series") in MEASURES else "finished"
    group = request.GET["group"] if request.GET.get("group") in GROUPS else "task"
    names = [name for name, _ in summaries[group][:COMPARED]]
    if group == "all":
        totals = {"All": [total for _, total in points]}
    else:
        timed = MEASURES[series].unit is Unit.SECONDS
        totals = figures.series_of(period.span, selection, by=group, names=names, histograms=timed, marks=marks) if names else {}
    length = period.span.until - period.span.since
    return {
        "compared": outcome_charts.comparison(period.span, totals, MEASURES[series], dict(summaries[group])),
        "hidden": {name: period.pairs(*without) for name, without in HIDDEN.items()},
        "measures": [(name, measure.label, name == series) for name, measure in MEASURES.items()],
        "groups": [(name, label, name == group) for name, label in GROUPS.items()],
        "periods": [
            (bucket.value, bucket == period.bucket) for bucket in Bucket if 2 <= length / seconds_of(bucket) < MAX_POINTS
        ],
    }


def _row(name: str, totals: Totals, by: str, period: Range, selection: RollupFilter) -> TableRow:
    only = replace(selection, task=name) if by == "task" else replace(selection, queue=name)
    return TableRow(name, totals, period.query_with(**{by: name}), *(_links(period, only) if name else [""] * 5))


def _links(period: Range, selection: RollupFilter) -> list[str]:
    """Return the queries of a TableRow: tasks that finished, failed, succeeded, the slowest, and events of retries."""
    finished = period.ended(*selection.terms, "status:SUCCESS", "status:FAILURE")
    retries = {"status": "RETRY", "task": selection.task, "queue": selection.queue, "application": selection.application}
    return [
        finished,
        period.ended(*selection.terms, "status:FAILURE"),
        period.ended(*selection.terms, "status:SUCCESS"),
        f"{finished}&sort=-runtime",
        urlencode({name: value for name, value in retries.items() if value}),
    ]


def _tab(period: Range, name: str, value: str, label: str, current: str) -> dict[str, Any]:
    url = f"?{period.query_with(**{name: value})}"
    return {"label": label, "url": url, "count": None, "current": value == current, "status": ""}
