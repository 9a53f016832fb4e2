"""Charts over time: lines as inline SVG, the same numbers as a table, and the data for static/js/charts.js.

The scales are text beside the SVG box, so that both are readable at any width. If scripts run, uPlot draws the box again,
with a crosshair and more; docs/decisions/0008-charts-on-the-server.md says why there are two drawings.
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

#: Width and height of the SVG box, in its own units.
SIZE: Final = 100
#: Rows of the table below a chart at most; the newest are shown.
TABLE_ROWS: Final = 48
#: Marks on each scale.
Y_MARKS: Final = 3
X_MARKS: Final = 5

Value = float | None


class Unit(StrEnum):
    """The unit of a chart's values; static/js/chart-units.js formats them in the same way."""

    RATE = "rate"
    PERCENT = "percent"
    SECONDS = "seconds"

    def shown(self, value: Value) -> str:
        """Return a value as people read it."""
        if value is None:
            return NOTHING
        if not value and self is Unit.SECONDS:
            return "0"
        if self is Unit.PERCENT:
            return f"{value:.0f} %"
        return _rate(value) if self is Unit.RATE else duration(value)


@dataclass(frozen=True)
class Series:
    """One line. Its CSS class `style` gives it a colour and a dash pattern, so that lines differ without colour, too.

    `filled`: whether the area below the line is tinted.
    """

    label: str
    style: str
    values: Sequence[Value]
    filled: bool = False


@dataclass(frozen=True)
class Line:
    """A series as it is drawn. `area` is the outline of the tinted area, `last` the newest value in words."""

    label: str
    style: str
    path: str
    area: str
    last: str


@dataclass(frozen=True)
class ChartRow:
    """One step, as a row of the table."""

    at: datetime
    values: list[str]


@dataclass(frozen=True)
class Chart:
    """The context of `_chart.html`. `rows` has the numbers as a table, for screen readers; `data` has them for the script."""

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
        """Return the table's body. Not in the template, which takes 25 ms for the 1,200 cells of five charts."""
        return mark_safe("".join(map(_table_row, self.rows)))  # noqa: S308 (escaped cell by cell)


def chart(id_: str, title: str, span: TimeWindow, series: Sequence[Series], unit: Unit, *, note: str = "") -> Chart:
    """Lay out a chart with one value per series for each step of a span; `note` names the unit, such as "per minute"."""
    starts = span.starts()
    values_present = [value for one in series for value in one.values if value is not None]
    top = 100.0 if unit is Unit.PERCENT else _round_up(max(values_present, default=0.0))
    lines = [_line(one, top, unit) for one in series]
    y_marks = [unit.shown(top * mark / (Y_MARKS - 1)) for mark in reversed(range(Y_MARKS))] if top else []
    columns = [one.values for one in series]
    rows = [
        ChartRow(datetime.fromtimestamp(start, tz=UTC), [unit.shown(values[index]) for values in columns])
        for index, start in list(enumerate(starts))[-TABLE_ROWS:]
    ]
    return Chart(id_, title, note, lines, y_marks, _x_marks(span), rows, _data(span, series, unit), not any(values_present))


def _table_row(row: ChartRow) -> str:
    values = "".join(f"<td>{escape(value)}</td>" for value in row.values)
    return f"<tr><td>{row.at:%Y-%m-%d %H:%M}</td>{values}</tr>"


def _line(series: Series, top: float, unit: Unit) -> Line:
    runs = _runs(series.values, top)
    path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + "h0" for run in runs)
    area = "".join(f"M{run[0][0]:.1f} {SIZE}L" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + f"V{SIZE}Z" for run in runs)
    last = next((value for value in reversed(series.values) if value is not None), None)
    return Line(series.label, series.style, path, area if series.filled else "", unit.shown(last))


def _runs(values: Sequence[Value], top: float) -> list[list[tuple[float, float]]]:
    """Return the points of each unbroken stretch of the line; a missing value breaks it."""
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is not None:
            runs[-1].append((SIZE * index / max(len(values) - 1, 1), SIZE - SIZE * (value / top if top else 0)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _x_marks(span: TimeWindow) -> list[str]:
    starts = span.starts()
    time_format = "%d %b" if span.until - span.since > 1.5 * DAY else "%H:%M"
    marks = [round(mark * (len(starts) - 1) / (X_MARKS - 1)) for mark in range(X_MARKS)]
    return [f"{datetime.fromtimestamp(starts[mark], tz=UTC):{time_format}}" for mark in marks]


def _data(span: TimeWindow, series: Sequence[Series], unit: Unit) -> str:
    lines = [{"label": one.label, "filled": one.filled, "values": [_rounded(value) for value in one.values]} for one in series]
    first = span.starts()[0]
    return json.dumps({"first": first, "step": span.step, "unit": unit, "series": lines}, separators=(",", ":"))


def _rounded(value: Value) -> Value:
    """Round a number to the four digits that a drawing can show."""
    if value is None:
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short


def _rate(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 1 or not value else f"{value:.2g}"


def _round_up(value: float) -> float:
    """Return the next larger of 1, 2, 5, 10, 20, … so that the scale has round numbers."""
    if value <= 0:
        return 0.0
    unit = 1e-4
    while unit * 10 < value:
        unit *= 10
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= value)
