"""Charts over time as inline SVG, drawn on the server: lines with a scale, and the same numbers as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

#: The drawing's own units; the page scales it to its width.
WIDTH: Final = 720
HEIGHT: Final = 180
_LEFT: Final = 46
_BOTTOM: Final = 158
_TOP: Final = 10
_RIGHT: Final = 712
#: Rows of the table below a chart at most: the newest.
TABLE_ROWS: Final = 120

Value = float | None


@dataclass(frozen=True)
class Series:
    """One line: `style` is its CSS class, which also gives it a pattern of dashes, so that colour is not needed to tell it."""

    label: str
    style: str
    values: Sequence[Value]


@dataclass(frozen=True)
class Line:
    """A series as it is drawn."""

    label: str
    style: str
    path: str
    last: str


@dataclass(frozen=True)
class Tick:
    """A mark of a scale, at `at` units from the left or from the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What `_chart.html` draws; `rows` are the same numbers for who cannot see it."""

    id: str
    title: str
    lines: list[Line]
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    head: list[str]
    rows: list[list[str]]
    empty: bool


def chart(id_: str, title: str, times: Sequence[datetime], series: Sequence[Series], shown: Callable[[Value], str]) -> Chart:
    """Lay out a chart: `shown` writes a value for people."""
    known = [value for one in series for value in one.values if value is not None]
    most = _round_up(max(known, default=0.0))
    lines = [Line(one.label, one.style, _path(one.values, most), shown(_last(one.values))) for one in series]
    columns = [one.values for one in series]
    rows = [[f"{at:%Y-%m-%d %H:%M}", *(shown(values[index]) for values in columns)] for index, at in enumerate(times)]
    return Chart(
        id_, title, lines,
        [Tick(_y(most * step / 2, most), shown(most * step / 2)) for step in range(3)] if most else [],
        _x_ticks(times), ["From", *(one.label for one in series)], rows[-TABLE_ROWS:], not any(known),
    )  # fmt: skip


def _path(values: Sequence[Value], most: float) -> str:
    """Return the line's path; where a value is not known it is broken."""
    parts, pen = [], "M"
    for index, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{_x(index, len(values)):.1f} {_y(value, most):.1f}")
        pen = "L"
    return "".join(parts)


def _x(index: int, count: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * index / max(count - 1, 1)


def _y(value: float, most: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * (value / most if most else 0)


def _x_ticks(times: Sequence[datetime]) -> list[Tick]:
    if len(times) < 2:
        return []
    days = (times[-1] - times[0]).total_seconds() > 36 * 3600
    marks = sorted({round(step * (len(times) - 1) / 5) for step in range(6)})
    return [Tick(_x(index, len(times)), f"{times[index]:%d %b}" if days else f"{times[index]:%H:%M}") for index in marks]


def _round_up(value: float) -> float:
    """Return the next value of 1, 2, 5, 10, 20, … so that the scale has round numbers."""
    if value <= 0:
        return 0.0
    unit = 1e-4
    while unit * 10 < value:
        unit *= 10
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= value)


def _last(values: Sequence[Value]) -> Value:
    return next((value for value in reversed(values) if value is not None), None)
