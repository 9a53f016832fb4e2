"""Figures for charts: outcomes, runtimes, waiting times and load over a window, from rollups and samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from django.db import connection
from django.db.models import Count

from tasks_app.analytics import rollups
from tasks_app.analytics.rollups import RollupFilter, Totals
from tasks_app.analytics.window import Preset, TimeWindow, span_of
from tasks_app.maintenance.compaction import Watermarks, utc_datetime
from tasks_app.models import Task
from tasks_app.models.application import Visible, of_application, of_visible
from zenith_site.common.sql import statements
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import OPEN, Status

WEEKDAYS: Final = tuple(range(1, 8))
#: The most days of a heat map by date.
MAX_DAYS: Final = 92


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of one window. `open_by_status` counts open tasks now."""

    totals: Totals
    span: TimeWindow
    open_by_status: dict[str, int]

    @property
    def by_status(self) -> dict[str, int]:
        """The number of tasks in each status: those that ended in the window, and those open now."""
        ended = {
            Status.SUCCESS: self.totals.succeeded, Status.FAILURE: self.totals.failed, Status.REVOKED: self.totals.revoked,
        }  # fmt: skip
        return {status.value: ended.get(status, self.open_by_status.get(status, 0)) for status in Status}

    @property
    def throughput(self) -> float:
        """Tasks finished per minute."""
        return self.totals.finished / self.span.minutes


def stats(window: Preset, application: str = "", visible: Visible = None) -> Stats:
    """Return the figures of a preset, of all applications or of the one with a name, in three queries (four for `all`).

    `visible`: the names of the applications that the caller may see, which alone are counted.
    """
    span = span_of(window)
    tasks = Task.objects.filter(of_visible(visible))
    tasks = tasks.filter(of_application(application)) if application else tasks
    opened = tasks.filter(status__in=OPEN).order_by().values_list("status").annotate(Count("id"))
    return Stats(rollups.total(span, RollupFilter(application=application, visible=visible)), span, dict(opened))


def series(span: TimeWindow, selection: RollupFilter, *, marks: Watermarks | None = None) -> list[tuple[datetime, Totals]]:
    """Return the totals of each step, including empty ones. Two queries."""
    totals_of = rollups.by_step(span, selection, marks=marks)
    return [(utc_datetime(start), totals_of.get(start) or Totals()) for start in span.starts()]


def series_of(
    span: TimeWindow,
    selection: RollupFilter,
    *,
    by: str,
    names: Sequence[str],
    histograms: bool = True,
    marks: Watermarks | None = None,
) -> dict[str, list[Totals]]:
    """Return such a series for each of some task names or queues (`by` is "task" or "queue"). Two queries.

    Without `histograms` there are no percentiles, but it takes a fifth of the time.
    """
    column = "name" if by == "task" else "queue"
    totals_of = rollups.by_name_and_step(span, selection, column, names, histograms=histograms, marks=marks)
    return {name: [totals_of.get((name, start)) or Totals() for start in span.starts()] for name in names}


def summed(points: Iterable[tuple[datetime, Totals]]) -> Totals:
    """Return the sum of a series."""
    return sum((totals for _, totals in points), start=Totals())


class Order(StrEnum):
    """The order of a summary."""

    BUSIEST = "busiest"
    SLOWEST = "slowest"
    FAILING = "failing"
    WAITING = "waiting"


def _slowness(seconds: float | None) -> float:
    return -1.0 if seconds is None else seconds


_KEYS: Final[dict[Order, Any]] = {
    Order.BUSIEST: lambda totals: totals.finished,
    Order.SLOWEST: lambda totals: _slowness(totals.runtime(0.95)),
    Order.FAILING: lambda totals: (totals.failed, totals.retried),
    Order.WAITING: lambda totals: _slowness(totals.waiting(0.95)),
}


def summary(
    span: TimeWindow, selection: RollupFilter, *, by: str, order: Order, limit: int, marks: Watermarks | None = None
) -> list[tuple[str, Totals]]:
    """Return the totals of each task name or queue (`by`), the first `limit` in that order. Two queries."""
    totals_of = rollups.by_task(span, selection, marks=marks) if by == "task" else rollups.by_queue(span, selection, marks=marks)
    return _ranked(totals_of, order, limit)


def summaries(
    span: TimeWindow, selection: RollupFilter, *, order: Order, limit: int, marks: Watermarks | None = None
) -> tuple[list[tuple[str, Totals]], list[tuple[str, Totals]]]:
    """Return the summaries of the tasks and of the queues, in two queries for both."""
    tasks: dict[str, Totals] = {}
    queues: dict[str, Totals] = {}
    for pair, totals in rollups.by_pair(span, selection, marks=marks).items():
        for table, name in zip((tasks, queues), pair, strict=True):
            table[name] = table[name] + totals if name in table else totals
    return _ranked(tasks, order, limit), _ranked(queues, order, limit)


def _ranked(totals_of: Mapping[str, Totals], order: Order, limit: int) -> list[tuple[str, Totals]]:
    key = _KEYS[order]
    return sorted(sorted(totals_of.items()), key=lambda item: key(item[1]), reverse=True)[:limit]


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One day or weekday (1 is Monday), hour by hour."""

    day: date | int
    finished: list[int]
    failed: list[int]


def heat_map(
    span: TimeWindow, selection: RollupFilter, *, by_date: bool, zone: str, marks: Watermarks | None = None
) -> list[HeatRow]:
    """Return when tasks ended: rows of 24 hours in a time zone, by date (without empty dates) or by weekday. Two queries."""
    totals_of = rollups.by_hour(span, selection, day="date" if by_date else "isodow", zone=zone, marks=marks)
    days = sorted({day for day, _ in totals_of})[-MAX_DAYS:] if by_date else WEEKDAYS
    none = Totals()
    return [
        HeatRow(
            day,
            [totals_of.get((day, hour), none).finished for hour in range(24)],
            [totals_of.get((day, hour), none).failed for hour in range(24)],
        )
        for day in days
    ]


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One step of the efficiency and load chart; None if no task finished or there is no sample.

    Samples are of the workers of Zenith's own application.
    """

    at: datetime
    success_rate: float | None
    workers: float | None
    slots: float | None
    busy: float | None

    @property
    def load(self) -> float | None:
        """Percent of the slots that were busy."""
        return 100 * self.busy / self.slots if self.slots and self.busy is not None else None


_LOAD: Final = statements(__file__)["load"]


def load(
    span: TimeWindow, selection: RollupFilter | None = None, outcomes: Mapping[int, Totals] | None = None
) -> list[LoadPoint]:
    """Return the success rate and the load of the workers, step by step. Three queries.

    Only one if the caller passes the outcomes by the start of their step. An attached application has no samples.
    """
    selection = selection or RollupFilter()
    if outcomes is None:
        outcomes = rollups.by_step(span, selection, histograms=False)
    sees_native = selection.visible is None or NATIVE_NAME in selection.visible
    samples = _samples(span) if sees_native and selection.application in ("", NATIVE_NAME) else {}
    return [
        LoadPoint(
            utc_datetime(start),
            outcomes[start].success_rate if start in outcomes else None,
            *samples.get(start, (None, None, None)),
        )
        for start in span.starts()
    ]


def _samples(span: TimeWindow) -> dict[int, tuple[float | None, ...]]:
    """Return the means of workers, slots and busy slots by the start of their step."""
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, {"starts": list(span.starts()), "step": span.step, "since": span.since, "until": span.until})
        return {row[0]: row[1:] for row in cursor.fetchall()}
