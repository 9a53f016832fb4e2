"""Outcomes as recorders count them, for tests of what is made of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tasks_app.models import MinuteRollup
from tasks_app.recording.rollups import BOUNDS, BUCKETS


def histogram(seconds: Sequence[float]) -> list[int]:
    """The histogram of some times."""
    counts = [0] * BUCKETS
    for value in seconds:
        counts[bisect_left(BOUNDS, value)] += 1
    return counts


def ended(
    at: float, *, name: str = "t", queue: str = "default", runs: Sequence[float] = (), waits: Sequence[float] = (), **counts: int
) -> None:
    """Count what ended in the minute of a Unix time."""
    values: dict[str, Any] = {
        "runtime_seconds": sum(runs), "runtime_histogram": histogram(runs), "waiting_seconds": sum(waits),
        "waiting_histogram": histogram(waits),
    }  # fmt: skip
    minute = datetime.fromtimestamp(at // 60 * 60, tz=UTC)
    MinuteRollup.objects.create(minute=minute, name=name, queue=queue, **values, **counts)
