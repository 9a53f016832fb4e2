"""Numbers as words for people, the same on pages, in sentences and in commands."""

from typing import Final

NOTHING: Final = "—"


def duration(seconds: float | None) -> str:
    """Write a number of seconds as 340 ms, 1.2 s, 3 m 12 s or 2 h 5 m."""
    if seconds is None:
        return NOTHING
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s" if rest else f"{minutes} m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if minutes else f"{hours} h"


def rough_duration(seconds: float) -> str:
    """Write a number of seconds in one unit, as 250 ms, 12 s, 5 min, 3 h or 4 d."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit, limit in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def whole_duration(seconds: float) -> str:
    """Write a number of seconds rounded down, as 12 s, 5 m, 2 h 5 m or 3 d; static/js/time.js does the same."""
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} m" if minutes else f"{hours} h"
    return f"{hours // 24} d"


def size(number: int | None) -> str:
    """Write a number of bytes as 214 MB."""
    if number is None:
        return NOTHING
    for bound, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if number >= bound:
            return f"{number / bound:.1f} {unit}" if number < 10 * bound else f"{number / bound:.0f} {unit}"
    return f"{number} B"
