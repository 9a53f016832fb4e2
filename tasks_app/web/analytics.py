"""How much was done, how well and how fast, over any time: charts, tables, and a map of the day. All of it from rollups."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from tasks_app.insight import analytics
from tasks_app.insight.analytics import LoadPoint, Order
from tasks_app.insight.rollups import Totals, Which
from tasks_app.insight.window import Preset, Span, SteppedWindow
from tasks_app.web.charts import Chart, Series, chart
from tasks_app.web.templatetags.zenith import NOTHING, duration
from zenith_site.common.callers import VIEW, caller_of
from zenith_site.common.downloads import download, wanted
from zenith_site.common.pages import render_page

ROWS: Final = 20
LABELS: Final = {
    Preset.M15: "15 m", Preset.H1: "1 h", Preset.H6: "6 h", Preset.H24: "24 h", Preset.D7: "7 d", Preset.D30: "30 d",
}  # fmt: skip
ORDERS: Final = {
    Order.BUSIEST: "Busiest",
    Order.SLOWEST: "Slowest",
    Order.FAILING: "Most failing",
    Order.WAITING: "Longest waiting",
}
SHARES: Final = (("p50", "line-success", 0.5), ("p95", "line-retry", 0.95), ("p99", "line-failure", 0.99))
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_Point = tuple[datetime, Totals]
COLUMNS: Final[list[tuple[str, Callable[[_Point], Any]]]] = [
    ("since", lambda point: point[0]),
    ("succeeded", lambda point: point[1].succeeded),
    ("failed", lambda point: point[1].failed),
    ("revoked", lambda point: point[1].revoked),
    ("retried", lambda point: point[1].retried),
    ("success_rate", lambda point: point[1].success_rate),
    ("runtime_p50_seconds", lambda point: point[1].runtime(0.5)),
    ("runtime_p95_seconds", lambda point: point[1].runtime(0.95)),
    ("runtime_p99_seconds", lambda point: point[1].runtime(0.99)),
    ("waiting_p95_seconds", lambda point: point[1].waiting(0.95)),
]


class Cell(NamedTuple):
    """One hour of the map of the day: `level` from 0 (nothing) to 4 (the most)."""

    x: int
    finished: int
    failed: int
    level: int
    hour: int


class Row(NamedTuple):
    """One task or queue in a table, with the link to the tasks that it counts."""

    name: str
    totals: Totals
    p50: float | None
    p95: float | None
    waiting: float | None
    url: str


@require_safe
def analytics_page(request: HttpRequest) -> HttpResponseBase:
    """Throughput, success, runtimes and waiting times, in all or of one task or queue."""
    caller_of(request, VIEW)
    asked = request.GET.get("window", "")
    window = Preset(asked) if asked in LABELS else Preset.H24
    which = Which(*(request.GET.get(name, "")[:200].replace("\0", "") for name in ("task", "queue")))
    order = Order(request.GET["sort"]) if request.GET.get("sort") in list(Order) else Order.BUSIEST
    span = SteppedWindow(window=window).span()
    points = analytics.series(span, which)
    if kind := wanted(request):
        return download(kind, "analytics", COLUMNS, points)
    context = {
        "total": _sum(points),
        "minutes": span.minutes,
        "charts": _charts(points, analytics.load(span, {int(at.timestamp()): total for at, total in points}), span),
        "tasks": _rows(analytics.summary(span, which, by="task", order=order, limit=ROWS), "name", window),
        "queues": _rows(analytics.summary(span, which, by="queue", order=order, limit=ROWS), "queue", window),
        "heat": _heat(analytics.heat_map(span, which, by_date=False, zone="UTC")),
        "which": which,
        "window": window.value,
        "windows": _choices(request, "window", {item.value: label for item, label in LABELS.items()}, window.value),
        "orders": _choices(request, "sort", {item.value: label for item, label in ORDERS.items()}, order.value),
        "file_query": _query(request),
    }
    return render_page(request, "analytics/analytics.html", context, fragments=["analytics/_analytics.html"])


def _charts(points: list[_Point], load: list[LoadPoint], span: Span) -> list[Chart]:
    times = [at for at, _ in points]
    totals = [total for _, total in points]
    per_minute = 60 / span.step

    def rate(name: str) -> list[float | None]:
        return [getattr(total, name) * per_minute for total in totals]

    return [
        chart(
            "throughput", "Finished per minute", times,
            [Series("Succeeded", "line-success", rate("succeeded")), Series("Failed", "line-failure", rate("failed"))],
            lambda value: NOTHING if value is None else f"{value:,.1f}".removesuffix(".0"),
        ),
        chart(
            "efficiency", "Efficiency and load, percent", [point.at for point in load],
            [
                Series("Success rate", "line-success", [point.success_rate for point in load]),
                Series("Busy slots", "line-started", [_share(point) for point in load]),
            ],
            lambda value: NOTHING if value is None else f"{value:.0f} %",
        ),
        chart(
            "runtime", "Runtime", times,
            [Series(label, style, [total.runtime(share) for total in totals]) for label, style, share in SHARES],
            duration,
        ),
        chart(
            "waiting", "Waiting for a worker", times,
            [Series(label, style, [total.waiting(share) for total in totals]) for label, style, share in SHARES[:2]],
            duration,
        ),
    ]  # fmt: skip


def _share(point: LoadPoint) -> float | None:
    return 100 * point.busy / point.slots if point.slots and point.busy is not None else None


def _sum(points: list[_Point]) -> Totals:
    total = Totals()
    for _, one in points:
        for name in ("succeeded", "failed", "revoked", "retried", "runtime_seconds", "waiting_seconds"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        total.runtimes = [mine + its for mine, its in zip(total.runtimes, one.runtimes, strict=True)]
        total.waits = [mine + its for mine, its in zip(total.waits, one.waits, strict=True)]
    return total


def _rows(found: list[tuple[str, Totals]], key: str, window: Preset) -> list[Row]:
    return [
        Row(
            name, totals, totals.runtime(0.5), totals.runtime(0.95), totals.waiting(0.95),
            urlencode({"q": f'{key}:"{name}" since:{window.value}' if " " in name else f"{key}:{name} since:{window.value}"}),
        )
        for name, totals in found
    ]  # fmt: skip


def _heat(rows: list[analytics.HeatRow]) -> list[tuple[str, list[Cell]]]:
    most = max((count for row in rows for count in row.finished), default=0)
    return [
        (
            f"{row.day:%d %b}" if isinstance(row.day, date) else WEEKDAYS[row.day - 1],
            [
                Cell(28 * hour, count, row.failed[hour], -(-4 * count // most) if most else 0, hour)
                for hour, count in enumerate(row.finished)
            ],
        )
        for row in rows
    ]


def _choices(request: HttpRequest, name: str, labels: dict[str, str], now: str) -> list[dict[str, Any]]:
    return [
        {"label": label, "url": "?" + _query(request, **{name: value}), "count": None, "current": value == now, "status": ""}
        for value, label in labels.items()
    ]


def _query(request: HttpRequest, **changed: str) -> str:
    kept = {name: request.GET[name] for name in ("window", "task", "queue", "sort") if request.GET.get(name)}
    return urlencode({**kept, **changed})
