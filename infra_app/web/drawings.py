"""Draw short histories as inline SVG on the server; the page also shows the numbers as text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

WIDTH: Final = 300
HEIGHT: Final = 48
_PAD: Final = 3


@dataclass(frozen=True)
class Trace:
    """A drawn history: its line, the area below it, the newest and highest values, and a description in words."""

    label: str
    line: str
    area: str
    now: str
    most: str
    words: str
    width: int = WIDTH
    height: int = HEIGHT


def trace(
    label: str,
    points: Sequence[tuple[datetime, float]],
    format_value: Callable[[float], str],
    *,
    full: float | None = None,
) -> Trace | None:
    """Return the drawing of values over time, oldest first; None if there are fewer than two.

    Args:
        format_value: formats a value for people.
        full: the least value at the top of the drawing, such as a limit.
    """
    if len(points) < 2:
        return None
    first, last = points[0][0], points[-1][0]
    most = max(value for _, value in points)
    top = max(most, full or 0.0) or 1.0
    seconds = (last - first).total_seconds() or 1.0
    places = [
        (
            WIDTH * (at - first).total_seconds() / seconds,
            HEIGHT - _PAD - (HEIGHT - 2 * _PAD) * value / top,
        )
        for at, value in points
    ]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    words = f"{label} from {first:%H:%M} to {last:%H:%M}: now {format_value(points[-1][1])}, at most {format_value(most)}"
    return Trace(label, line, f"{line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z", format_value(points[-1][1]), format_value(most), words)


def rates(points: Sequence[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """Return a counter's growth per second between each two points; a counter that was reset counts from zero."""
    per_second = []
    for (before, low), (after, high) in pairwise(points):
        seconds = (after - before).total_seconds()
        if seconds > 0:
            per_second.append((after, (high - low if high >= low else high) / seconds))
    return per_second
