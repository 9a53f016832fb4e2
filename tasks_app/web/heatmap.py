"""The map of the day: how much was done in each hour, by date, or over a longer time by weekday."""

from datetime import UTC, date, datetime, time, timedelta
from html import escape
from typing import Final, NamedTuple

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from tasks_app.analytics import figures
from tasks_app.analytics.figures import HeatRow
from tasks_app.analytics.rollups import Which
from tasks_app.maintenance.compaction import DAY, Watermarks
from tasks_app.web.ranges import Range, ended

WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: A longer time is laid out by weekday; its hours are then many, and no list is all of them.
BY_DATE: Final = 8 * DAY
LEVELS: Final = 4


class Cell(NamedTuple):
    """One hour: `level` from 0 (nothing) to 4 (the most); `query` is the task list's for what ended in it, by date only."""

    x: int
    hour: int
    finished: int
    failed: int
    level: int
    query: str


class HeatmapRow(NamedTuple):
    """One day or weekday."""

    label: str
    cells: list[Cell]

    @property
    def drawing(self) -> SafeString:
        """Its cells as SVG. Not by the template: a week has 168 of them, which take it 10 ms."""
        listed = reverse("tasks:list")
        return mark_safe("".join(_drawn(cell, listed) for cell in self.cells))  # noqa: S308 (numbers, and an escaped query)


class Heatmap(NamedTuple):
    """The map, row by row; `by_date` or by weekday."""

    rows: list[HeatmapRow]
    by_date: bool

    @property
    def hours(self) -> list[dict[str, object]]:
        """The marks below it."""
        return [{"x": 28 * hour, "label": f"{hour:02}:00"} for hour in range(0, 24, 3)]


def heatmap(shown: Range, which: Which, known: Watermarks) -> Heatmap:
    """Return the map of what a page shows, in UTC. One query."""
    by_date = shown.span.until - shown.span.since <= BY_DATE
    rows = figures.heat_map(shown.span, which, by_date=by_date, zone="UTC", known=known)
    most = max((count for row in rows for count in row.finished), default=0)
    return Heatmap([HeatmapRow(_label(row.day), _cells(row, most, which)) for row in rows] if most else [], by_date)


def _drawn(cell: Cell, listed: str) -> str:
    said = f"{cell.hour}:00: {cell.finished} finished, {cell.failed} failed"
    box = f'<rect class="heat-{cell.level}" x="{cell.x}" width="26" height="18" rx="3"><title>{said}</title></rect>'
    return f'<a href="{listed}?{escape(cell.query)}">{box}</a>' if cell.query else box


def _label(day: date | int) -> str:
    return WEEKDAYS[day - 1] if isinstance(day, int) else f"{WEEKDAYS[day.weekday()]} {day:%d %b}"


def _cells(row: HeatRow, most: int, which: Which) -> list[Cell]:
    return [
        Cell(28 * hour, hour, count, row.failed[hour], -(-LEVELS * count // most), _query(row.day, hour, which) if count else "")
        for hour, count in enumerate(row.finished)
    ]


def _query(day: date | int, hour: int, which: Which) -> str:
    if isinstance(day, int):
        return ""
    since = datetime.combine(day, time(hour), tzinfo=UTC)
    return ended(since, since + timedelta(hours=1), *which.terms, "status:SUCCESS", "status:FAILURE")
