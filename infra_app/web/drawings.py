"""Short histories as lines of inline SVG, drawn on the server; the numbers stand beside them as text."""

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
    """A history: its line, the area below it, the newest value, the highest, and all in words."""

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
    shown: Callable[[float], str],
    *,
    full: float | None = None,
) -> Trace | None:
    """Return the drawing of values over time, the oldest first; None where there are too few.

    Args:
        shown: writes a value for people.
        full: what the top of the drawing stands for at least, such as a limit.
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
    words = f"{label} from {first:%H:%M} to {last:%H:%M}: now {shown(points[-1][1])}, at most {shown(most)}"
    return Trace(label, line, f"{line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z", shown(points[-1][1]), shown(most), words)


def rates(points: Sequence[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """Return by how much a counter grew per second between each two points; where it began anew, from nothing."""
    grown = []
    for (before, low), (after, high) in pairwise(points):
        seconds = (after - before).total_seconds()
        if seconds > 0:
            grown.append((after, (high - low if high >= low else high) / seconds))
    return grown
