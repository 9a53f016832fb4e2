"""The heat map: how many tasks finished in each hour, by date, or over longer periods by weekday."""

from datetime import UTC, date, datetime, time, timedelta
from html import escape
from typing import Final, NamedTuple

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from tasks_app.analytics import figures
from tasks_app.analytics.figures import HeatRow
from tasks_app.analytics.rollups import RollupFilter
from tasks_app.maintenance.compaction import DAY, Watermarks
from tasks_app.web.ranges import Range, ended

WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: Seconds up to which the map is by date. In a longer one, by weekday, a cell stands for many hours, so it has no link.
BY_DATE: Final = 8 * DAY
LEVELS: Final = 4


class Cell(NamedTuple):
    """One hour. `level` goes from 0 (nothing) to 4 (the most); `query` is the task list's for this hour, by date only."""

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
        """Return the cells as SVG. Not in the template, which takes 10 ms for the 168 cells of a week."""
        list_url = reverse("tasks:list")
        return mark_safe("".join(_cell_svg(cell, list_url) for cell in self.cells))  # noqa: S308 (numbers, and an escaped query)


class Heatmap(NamedTuple):
    """The map, row by row; by date or by weekday."""

    rows: list[HeatmapRow]
    by_date: bool

    @property
    def hours(self) -> list[dict[str, object]]:
        """Return the labels below the map."""
        return [{"x": 28 * hour, "label": f"{hour:02}:00"} for hour in range(0, 24, 3)]


def heatmap(period: Range, selection: RollupFilter, marks: Watermarks) -> Heatmap:
    """Return the map of a period, in UTC. One query."""
    by_date = period.span.until - period.span.since <= BY_DATE
    rows = figures.heat_map(period.span, selection, by_date=by_date, zone="UTC", marks=marks)
    most = max((count for row in rows for count in row.finished), default=0)
    return Heatmap([HeatmapRow(_label(row.day), _cells(row, most, selection)) for row in rows] if most else [], by_date)


def _cell_svg(cell: Cell, list_url: str) -> str:
    title = f"{cell.hour}:00: {cell.finished} finished, {cell.failed} failed"
    rect = f'<rect class="heat-{cell.level}" x="{cell.x}" width="26" height="18" rx="3"><title>{title}</title></rect>'
    return f'<a href="{list_url}?{escape(cell.query)}">{rect}</a>' if cell.query else rect


def _label(day: date | int) -> str:
    return WEEKDAYS[day - 1] if isinstance(day, int) else f"{WEEKDAYS[day.weekday()]} {day:%d %b}"


def _cells(row: HeatRow, most: int, selection: RollupFilter) -> list[Cell]:
    return [
        Cell(
            28 * hour,
            hour,
            count,
            row.failed[hour],
            -(-LEVELS * count // most),
            _query(row.day, hour, selection) if count else "",
        )
        for hour, count in enumerate(row.finished)
    ]


def _query(day: date | int, hour: int, selection: RollupFilter) -> str:
    if isinstance(day, int):
        return ""
    since = datetime.combine(day, time(hour), tzinfo=UTC)
    return ended(since, since + timedelta(hours=1), *selection.terms, "status:SUCCESS", "status:FAILURE")
