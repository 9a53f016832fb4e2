"""Read totals from the rollups: days, three hours, quarters and, if a step is too short for those, five minutes, as far as they
are summed up; and minutes for the rest.

So a month takes a few hundred rows, whatever ran in it, and never a scan of tasks. The watermarks (`marks`) cost one query; a
caller that reads several figures passes them on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from django.db import connection

from tasks_app.analytics.window import TimeWindow
from tasks_app.maintenance.compaction import (
    COLUMNS,
    COUNT_SUMS,
    DAY,
    FIVE_MINUTES,
    HISTOGRAM_SUMS,
    LENGTHS,
    MINUTE,
    QUARTER,
    USAGE_SUMS,
    Watermarks,
    watermarks,
)
from tasks_app.models import PeriodRollup
from tasks_app.models.application import NATIVE_ID, Visible
from tasks_app.models.rollup import COUNT_COLUMNS
from tasks_app.recording.rollups import BYTES_PER_SECOND, Tally, percentile
from tasks_app.search.parser import quoted
from zenith_worker.wire.applications import NATIVE_NAME


@dataclass(slots=True)
class Totals(Tally):
    """The counts of a window or of a part of it, with the figures that follow from them."""

    @property
    def finished(self) -> int:
        """Tasks that succeeded or failed."""
        return self.succeeded + self.failed

    @property
    def success_rate(self) -> float | None:
        """The percentage of finished tasks that succeeded; None if none finished."""
        return 100 * self.succeeded / self.finished if self.finished else None

    @property
    def runtime_mean(self) -> float | None:
        """The mean runtime in seconds."""
        runs = sum(self.runtimes)
        return self.runtime_seconds / runs if runs else None

    @property
    def waiting_mean(self) -> float | None:
        """The mean waiting time in seconds."""
        runs = sum(self.waits)
        return self.waiting_seconds / runs if runs else None

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            **{name: getattr(self, name) + getattr(other, name) for name in COUNT_COLUMNS},
            runtimes=[mine + theirs for mine, theirs in zip(self.runtimes, other.runtimes, strict=True)],
            waits=[mine + theirs for mine, theirs in zip(self.waits, other.waits, strict=True)],
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            cpus=[mine + theirs for mine, theirs in zip_longest(self.cpus, other.cpus, fillvalue=0)],
            memories=[mine + theirs for mine, theirs in zip_longest(self.memories, other.memories, fillvalue=0)],
        )

    def runtime(self, share: float) -> float | None:
        """Return a percentile of the runtimes in seconds; `share` is from 0 to 1."""
        return percentile(self.runtimes, share)

    def waiting(self, share: float) -> float | None:
        """Return a percentile of the waiting times in seconds; `share` is from 0 to 1."""
        return percentile(self.waits, share)

    @property
    def cpu_mean(self) -> float | None:
        """The mean CPU time of a run in seconds; None if it is not known of any."""
        runs = sum(self.cpus)
        return self.cpu_seconds / runs if runs else None

    def cpu(self, share: float) -> float | None:
        """Return a percentile of the CPU times in seconds; `share` is from 0 to 1."""
        return percentile(self.cpus, share) if self.cpus else None

    def memory(self, share: float) -> int | None:
        """Return a percentile of the largest memory in bytes; `share` is from 0 to 1."""
        value = percentile(self.memories, share) if self.memories else None
        return None if value is None else round(value * BYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class RollupFilter:
    """What to count: everything, or one task's, one queue's or one application's; all three are names.

    `visible`: the names of the applications that the caller may see, which alone are counted.
    """

    task: str = ""
    queue: str = ""
    application: str = ""
    visible: Visible = None

    @property
    def terms(self) -> list[str]:
        """The filter as terms of the search language."""
        pairs = (("name", self.task), ("queue", self.queue), ("application", self.application))
        return [f"{key}:{quoted(value)}" for key, value in pairs if value]

    def scope(self, by: Sequence[str]) -> PeriodRollup.Scope:
        """Return the coarsest scope of rows that still tells the columns `by` apart."""
        if self.task or "name" in by:
            return PeriodRollup.Scope.TASK
        return PeriodRollup.Scope.QUEUE if self.queue or "queue" in by else PeriodRollup.Scope.ALL


def total(span: TimeWindow, selection: RollupFilter) -> Totals:
    """Return the totals of a whole window. Two queries."""
    return _read(span, selection, (), "", DAY).get((), Totals())


def by_step(
    span: TimeWindow, selection: RollupFilter, *, histograms: bool = True, marks: Watermarks | None = None
) -> dict[int, Totals]:
    """Return the totals of each step by its start; empty steps are left out. Two queries."""
    rows = _read(span, selection, (_step(span),), "", span.step, histograms=histograms, marks=marks)
    return {key[0]: totals for key, totals in rows.items()}


def by_name_and_step(
    span: TimeWindow,
    selection: RollupFilter,
    by: str,
    names: Sequence[str],
    *,
    histograms: bool = True,
    marks: Watermarks | None = None,
) -> dict[tuple[str, int], Totals]:
    """Return the totals of some task names or queues (`by` is "name" or "queue") in each step. Two queries."""
    rows = _read(span, selection, (by, _step(span)), by, span.step, histograms=histograms, names=names, marks=marks)
    return {(key[0], key[1]): totals for key, totals in rows.items()}


def by_task(span: TimeWindow, selection: RollupFilter, *, marks: Watermarks | None = None) -> dict[str, Totals]:
    """Return the totals of each task name. Two queries."""
    return {key[0]: totals for key, totals in _read(span, selection, ("name",), "name", DAY, usage=True, marks=marks).items()}


def by_queue(span: TimeWindow, selection: RollupFilter, *, marks: Watermarks | None = None) -> dict[str, Totals]:
    """Return the totals of each queue. Two queries."""
    return {key[0]: totals for key, totals in _read(span, selection, ("queue",), "queue", DAY, usage=True, marks=marks).items()}


def by_pair(
    span: TimeWindow, selection: RollupFilter | None = None, *, marks: Watermarks | None = None
) -> dict[tuple[str, str], Totals]:
    """Return the totals of each task name on each queue. Two queries."""
    rows = _read(span, selection or RollupFilter(), ("name", "queue"), "name", DAY, usage=True, marks=marks)
    return {(key[0], key[1]): totals for key, totals in rows.items()}


def by_application(span: TimeWindow, *, marks: Watermarks | None = None) -> dict[int, Totals]:
    """Return the totals of each application by its key, without histograms. Two queries."""
    rows = _read(span, RollupFilter(), ("application_id",), "", DAY, histograms=False, marks=marks)
    return {key[0]: totals for key, totals in rows.items()}


def first_days(span: TimeWindow, selection: RollupFilter) -> dict[tuple[str, str], int]:
    """Return the day (since the epoch) on which each task name was first counted on each queue. Two queries."""
    parts = _parts(span, selection, PeriodRollup.Scope.TASK, DAY)
    if not parts:
        return {}
    query = f"SELECT name, queue, extract(epoch FROM min(at))::bigint / {DAY} FROM ({parts}) AS counted GROUP BY 1, 2"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(query, _parameters(selection))
        return {(name, queue): day for name, queue, day in cursor.fetchall()}


def by_hour(
    span: TimeWindow, selection: RollupFilter, *, day: str, zone: str, marks: Watermarks | None = None
) -> dict[tuple[Any, int], Totals]:
    """Return totals by day and hour in a time zone, without histograms. Two queries.

    `day` is "date", or "isodow" for the number of the weekday, from 1 for Monday.
    """
    local = "(at AT TIME ZONE %(zone)s)"
    first = f"{local}::date" if day == "date" else f"date_part('isodow', {local})::int"
    rows = _read(
        span, selection, (first, f"date_part('hour', {local})::int"), "", QUARTER, histograms=False, marks=marks, zone=zone
    )
    return {(key[0], key[1]): totals for key, totals in rows.items()}


def _step(span: TimeWindow) -> str:
    return f"(date_part('epoch', at)::bigint / {span.step} * {span.step})"


def _read(
    span: TimeWindow,
    selection: RollupFilter,
    groups: Sequence[str],
    by: str,
    longest: int,
    *,
    histograms: bool = True,
    usage: bool = False,
    names: Sequence[str] | None = None,
    marks: Watermarks | None = None,
    **parameters: Any,
) -> dict[tuple[Any, ...], Totals]:
    """Return the totals of a window, grouped by SQL expressions over `at`, `name`, `queue` and `application_id`.

    `longest` is a length that every row's period must divide, so that no row belongs to two groups. With `usage` also what tasks
    used, beside the histograms. With `names`, only rows whose column `by` is one of them count.
    """
    scope = selection.scope((by,))
    only = f"{by} = ANY(%(names)s)" if names is not None else ""
    parts = _parts(span, selection, scope, longest, only, marks)
    if not parts:
        return {}
    selected = ", ".join([*groups, COUNT_SUMS, *((HISTOGRAM_SUMS,) if histograms else ()), *((USAGE_SUMS,) if usage else ())])
    grouped = f"GROUP BY {', '.join(str(number + 1) for number in range(len(groups)))}" if groups else ""
    query = f"SELECT {selected} FROM ({parts}) AS counted {grouped}"  # noqa: S608 -- no input is in it
    with connection.cursor() as cursor:
        cursor.execute(query, {**parameters, **_parameters(selection), "names": list(names or ())})
        rows = cursor.fetchall()
    return {tuple(row[: len(groups)]): Totals(*row[len(groups) :]) for row in rows}


def _parameters(selection: RollupFilter) -> dict[str, Any]:
    return {
        "task": selection.task, "queue": selection.queue, "application": selection.application,
        "visible": sorted(selection.visible or ()),
    }  # fmt: skip


#: The conditions for Zenith's own application, and for another, whose key is read once for a query.
_OWN: Final = f"application_id = {NATIVE_ID}"
_OTHER: Final = "application_id = (SELECT id FROM tasks_app_application WHERE tasks_app_application.name = %(application)s)"

_VISIBLE: Final = "application_id = ANY(ARRAY(SELECT id FROM tasks_app_application WHERE name = ANY(%(visible)s)))"


def _parts(
    span: TimeWindow,
    selection: RollupFilter,
    scope: PeriodRollup.Scope,
    longest: int,
    only: str = "",
    marks: Watermarks | None = None,
) -> str:
    """Return the SELECTs whose rows make up a window; an empty text for an empty window."""
    pieces = cover(span.since, span.until, longest, marks or watermarks(), tasks=scope == PeriodRollup.Scope.TASK)
    return " UNION ALL ".join(_part(*piece, selection, scope, only) for piece in pieces)


def _part(seconds: int, since: int, until: int, selection: RollupFilter, scope: PeriodRollup.Scope, only: str) -> str:
    """Return the SELECT of one piece; numbers are computed here, and names are parameters."""
    conditions = [
        name
        for name, value in (
            ("name = %(task)s", selection.task),
            ("queue = %(queue)s", selection.queue),
            (_OWN if selection.application == NATIVE_NAME else _OTHER, selection.application),
            (_VISIBLE, selection.visible is not None),
            (only, only),
        )
        if value
    ]
    if seconds == MINUTE:
        table, at = "tasks_app_minuterollup", "minute"
    else:
        table, at = "tasks_app_periodrollup", "start"
        conditions += [f"seconds = {seconds}", f"scope = {scope.value}"]
    conditions += [f"{at} >= to_timestamp({since})", f"{at} < to_timestamp({until})"]
    return f"SELECT {at} AS at, name, queue, application_id, {COLUMNS} FROM {table} WHERE {' AND '.join(conditions)}"  # noqa: S608


def cover(since: int, until: int, longest: int, marks: Watermarks, *, tasks: bool) -> list[tuple[int, int, int]]:
    """Return the pieces (length of their rows, since, until) that make up a window, with rows as long as possible.

    A row is used only if it lies entirely in the window, its period is summed up, and its length divides `longest`. Rows of five
    minutes do not tell `tasks` apart, and are used if a quarter is too long.
    """
    pieces = [(MINUTE, since, until)]
    for seconds in LENGTHS:
        usable = seconds != FIVE_MINUTES or (longest % QUARTER and not tasks)
        if usable and longest % seconds == 0:
            pieces = [part for piece in pieces for part in _split(piece, seconds, marks.of(seconds))]
    return pieces


def _split(piece: tuple[int, int, int], seconds: int, done: int) -> list[tuple[int, int, int]]:
    """Use longer rows for the middle of a piece, if it has one. Rows longer than quarters replace quarters only."""
    length, since, until = piece
    first, last = -(-since // seconds) * seconds, min(until, done) // seconds * seconds
    if first >= last or (seconds > QUARTER and length == MINUTE):
        return [piece]
    parts = [(length, since, first), (seconds, first, last), (length, last, until)]
    return [part for part in parts if part[1] < part[2]]
