"""Charts over time: lines as inline SVG, the same numbers as a table, and the data for static/js/charts.js.

The scales are text beside the SVG box, so that both are readable at any width. If scripts run, uPlot draws the box again,
with a crosshair and more; docs/decisions/0008-charts-on-the-server.md says why there are two drawings.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from html import escape
from typing import Final

from django.utils.safestring import SafeString, mark_safe

from tasks_app.analytics.window import HOUR, TimeWindow
from tasks_app.maintenance.compaction import DAY, MINUTE
from zenith_site.common.humanize import NOTHING, duration

#: Width and height of the SVG box, in its own units.
SIZE: Final = 100
#: Rows of the table below a chart at most; the newest are shown.
TABLE_ROWS: Final = 48
#: Steps on each scale at most.
Y_STEPS: Final = 4
X_STEPS: Final = 6
#: Seconds between two marks of a scale, as a person would choose them, from a second up; static/js/chart-units.js has the same.
TIME_STEPS: Final = (
    1, 2, 5, 10, 15, 30,
    MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
    *(days * DAY for days in (1, 2, 5, 7, 14, 30, 60, 90, 180, 365, 730)),
)  # fmt: skip

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

    def marked(self, value: float) -> str:
        """Return a value as a mark of a scale."""
        return self.shown(value).replace(".0 ", " ")


@dataclass(frozen=True)
class Series:
    """One line. Its CSS class `style` gives it a colour and a dash pattern, so that lines differ without colour, too.

    Attributes:
        total: the figure of the whole period, as the legend says it.
        filled: whether the area below the line is tinted.
        joined: whether the line goes on over steps without a value, because nothing happened in them. Otherwise a step without a
            value is unknown, and a gap.
    """

    label: str
    style: str
    values: Sequence[Value]
    total: str = ""
    filled: bool = False
    joined: bool = False


@dataclass(frozen=True)
class Line:
    """A series as it is drawn. `area` is the outline of the tinted area, `total` the figure of the whole period in words."""

    label: str
    style: str
    path: str
    area: str
    total: str


@dataclass(frozen=True)
class TimeMark:
    """A mark of the scale of times: where it is, in percent of the width, and on which side of that its label stands."""

    x: str
    label: str
    anchor: str


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
    x_marks: list[TimeMark]
    grid: str
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
    marks = scale(max(values_present, default=0.0), unit)
    lines = [_line(one, marks[-1]) for one in series]
    columns = [one.values for one in series]
    rows = [
        ChartRow(datetime.fromtimestamp(start, tz=UTC), [unit.shown(values[index]) for values in columns])
        for index, start in list(enumerate(starts))[-TABLE_ROWS:]
    ]
    return Chart(
        id_, title, note, lines, [unit.marked(mark) for mark in reversed(marks)] if marks[-1] else [], time_marks(span),
        "".join(f"M0 {SIZE - SIZE * index / max(len(marks) - 1, 1):.2f}H{SIZE}" for index in range(len(marks))),
        rows, _data(span, series, unit), not any(values_present),
    )  # fmt: skip


def scale(most: float, unit: Unit) -> list[float]:
    """Return the marks of a scale that begins with 0 and holds values up to `most`, in round steps."""
    if unit is Unit.PERCENT:
        return [0.0, 50.0, 100.0]
    if most <= 0:
        return [0.0]
    step = _step(most, unit)
    return [step * index for index in range(math.ceil(most / step - 1e-9) + 1)]


def _step(most: float, unit: Unit) -> float:
    if unit is Unit.SECONDS and most > Y_STEPS * 0.5:
        return _time_step(most, Y_STEPS)
    power = 10.0 ** math.floor(math.log10(most / Y_STEPS))
    return next(step * power for step in (1, 2, 5, 10) if most <= Y_STEPS * step * power * (1 + 1e-9))


def _time_step(seconds: float, steps: int) -> float:
    """Return the shortest of TIME_STEPS of which at most so many make up a time."""
    return next((step for step in TIME_STEPS if seconds / step <= steps), TIME_STEPS[-1])


def time_marks(span: TimeWindow) -> list[TimeMark]:
    """Return the marks of the scale of times: whole minutes, hours or days in UTC, as many as fit beside each other."""
    first, last = span.starts()[0], span.starts()[-1]
    step = int(max(_time_step(last - first, X_STEPS), MINUTE))
    length = max(last - first, 1)
    return [_time_mark(at, 100 * (at - first) / length, step) for at in range(-(-first // step) * step, last + 1, step)]


def _time_mark(at: int, share: float, step: int) -> TimeMark:
    anchor = "start" if share < 4 else "end" if share > 96 else "middle"
    # As `mark` of static/js/chart-units.js.
    words = "%d %b" if step >= DAY or at % DAY == 0 else "%H:%M"
    return TimeMark(f"{share:.2f}%", f"{datetime.fromtimestamp(at, tz=UTC):{words}}", anchor)


def _table_row(row: ChartRow) -> str:
    values = "".join(f"<td>{escape(value)}</td>" for value in row.values)
    return f"<tr><td>{row.at:%Y-%m-%d %H:%M}</td>{values}</tr>"


def _line(series: Series, top: float) -> Line:
    runs = _runs(series.values, top, joined=series.joined)
    path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + "h0" for run in runs)
    area = "".join(f"M{run[0][0]:.1f} {SIZE}L" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + f"V{SIZE}Z" for run in runs)
    return Line(series.label, series.style, path, area if series.filled else "", series.total)


def _runs(values: Sequence[Value], top: float, *, joined: bool) -> list[list[tuple[float, float]]]:
    """Return the points of each unbroken stretch of the line; a missing value breaks it, unless it is `joined`."""
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is not None:
            runs[-1].append((SIZE * index / max(len(values) - 1, 1), SIZE - SIZE * (value / top if top else 0)))
        elif runs[-1] and not joined:
            runs.append([])
    return [run for run in runs if run]


def _data(span: TimeWindow, series: Sequence[Series], unit: Unit) -> str:
    lines = [
        {
            "label": one.label, "filled": one.filled, "joined": one.joined,
            "values": [_rounded(value) for value in one.values],
        }
        for one in series
    ]  # fmt: skip
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
