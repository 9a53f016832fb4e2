"""Charts over time: lines with a scale as inline SVG, the same numbers as a table, and what static/js/charts.js draws from.

The lines fill a box whose scales are text beside it, so that both can be read at any width. Where scripts run, the box is drawn
again with what only they can do; docs/decisions/0008-charts-on-the-server.md says why there are two drawings.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from html import escape
from typing import Final

from django.utils.safestring import SafeString, mark_safe

from tasks_app.analytics.window import TimeWindow
from tasks_app.maintenance.compaction import DAY
from zenith_site.common.humanize import NOTHING, duration

#: The box's own units, in both directions.
SIZE: Final = 100
#: Rows of the table below a chart at most: the newest.
TABLE_ROWS: Final = 48
#: Marks on each scale.
Y_MARKS: Final = 3
X_MARKS: Final = 5

Value = float | None


class Unit(StrEnum):
    """What a chart's values are; static/js/chart-units.js writes them in the same way."""

    RATE = "rate"
    PERCENT = "percent"
    SECONDS = "seconds"

    def shown(self, value: Value) -> str:
        """Write a value for people."""
        if value is None:
            return NOTHING
        if not value and self is Unit.SECONDS:
            return "0"
        if self is Unit.PERCENT:
            return f"{value:.0f} %"
        return _rate(value) if self is Unit.RATE else duration(value)


@dataclass(frozen=True)
class Series:
    """One line: `style` is its CSS class, which gives it a colour and a pattern of dashes, so that it can be told without colour.

    `filled`: whether the area below it is tinted.
    """

    label: str
    style: str
    values: Sequence[Value]
    filled: bool = False


@dataclass(frozen=True)
class Line:
    """A series as it is drawn; `area` is the outline of what is tinted, and `last` its newest value in words."""

    label: str
    style: str
    path: str
    area: str
    last: str


@dataclass(frozen=True)
class ChartRow:
    """One step in the table."""

    at: datetime
    values: list[str]


@dataclass(frozen=True)
class Chart:
    """What `_chart.html` draws; `rows` are the same numbers for who cannot see it, and `data` for the script."""

    id: str
    title: str
    note: str
    lines: list[Line]
    y_marks: list[str]
    x_marks: list[str]
    rows: list[ChartRow]
    data: str
    empty: bool

    @property
    def table(self) -> SafeString:
        """The body of the table. Not by the template: five charts have 1,200 cells, which take it 25 ms."""
        return mark_safe("".join(map(_table_row, self.rows)))  # noqa: S308 (escaped cell by cell)


def chart(id_: str, title: str, span: TimeWindow, series: Sequence[Series], unit: Unit, *, note: str = "") -> Chart:
    """Lay out a chart of one value for each step of a span; `note` says what is drawn, such as "per minute"."""
    starts = span.starts()
    known = [value for one in series for value in one.values if value is not None]
    most = 100.0 if unit is Unit.PERCENT else _round_up(max(known, default=0.0))
    lines = [_line(one, most, unit) for one in series]
    y_marks = [unit.shown(most * mark / (Y_MARKS - 1)) for mark in reversed(range(Y_MARKS))] if most else []
    columns = [one.values for one in series]
    rows = [
        ChartRow(datetime.fromtimestamp(start, tz=UTC), [unit.shown(values[index]) for values in columns])
        for index, start in list(enumerate(starts))[-TABLE_ROWS:]
    ]
    return Chart(id_, title, note, lines, y_marks, _x_marks(span), rows, _data(span, series, unit), not any(known))


def _table_row(row: ChartRow) -> str:
    values = "".join(f"<td>{escape(value)}</td>" for value in row.values)
    return f"<tr><td>{row.at:%Y-%m-%d %H:%M}</td>{values}</tr>"


def _line(series: Series, most: float, unit: Unit) -> Line:
    runs = _runs(series.values, most)
    path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + "h0" for run in runs)
    area = "".join(f"M{run[0][0]:.1f} {SIZE}L" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + f"V{SIZE}Z" for run in runs)
    last = next((value for value in reversed(series.values) if value is not None), None)
    return Line(series.label, series.style, path, area if series.filled else "", unit.shown(last))


def _runs(values: Sequence[Value], most: float) -> list[list[tuple[float, float]]]:
    """Return the points of each unbroken run; a line is broken where a value is not known."""
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is not None:
            runs[-1].append((SIZE * index / max(len(values) - 1, 1), SIZE - SIZE * (value / most if most else 0)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _x_marks(span: TimeWindow) -> list[str]:
    starts = span.starts()
    form = "%d %b" if span.until - span.since > 1.5 * DAY else "%H:%M"
    marks = [round(mark * (len(starts) - 1) / (X_MARKS - 1)) for mark in range(X_MARKS)]
    return [f"{datetime.fromtimestamp(starts[mark], tz=UTC):{form}}" for mark in marks]


def _data(span: TimeWindow, series: Sequence[Series], unit: Unit) -> str:
    drawn = [{"label": one.label, "filled": one.filled, "values": [_brief(value) for value in one.values]} for one in series]
    first = span.starts()[0]
    return json.dumps({"first": first, "step": span.step, "unit": unit, "series": drawn}, separators=(",", ":"))


def _brief(value: Value) -> Value:
    """Shorten a number to what a drawing shows of it."""
    if value is None:
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short


def _rate(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 1 or not value else f"{value:.2g}"


def _round_up(value: float) -> float:
    """Return the next value of 1, 2, 5, 10, 20, … so that the scale has round numbers."""
    if value <= 0:
        return 0.0
    unit = 1e-4
    while unit * 10 < value:
        unit *= 10
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= value)
