"""The last hour of queues and workers as sparklines, each with its words: what it shows, for who cannot see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tasks_app.analytics.histories import QueueHistory, WorkerHistory
from zenith_site.common.humanize import size

Values = Sequence[float | None]

#: The words for a line without any value.
UNKNOWN: Final = "nothing is known yet"


@dataclass(frozen=True, slots=True)
class Trend:
    """A sparkline: its title, one value for each step, the same in words, and the parts of the values that failed."""

    title: str
    values: Values
    words: str
    failed: Values = ()


def queue_trends(history: QueueHistory) -> list[Trend]:
    """Return a queue's depth, and what finished."""
    return [_depth(history.depth), _outcomes(history.finished, history.failed, "at least " if history.is_partial else "")]


def worker_trends(history: WorkerHistory) -> list[Trend]:
    """Return what finished on a worker, and its memory."""
    return [_outcomes(history.finished, history.failed), _memory(history.memory)]


def _depth(values: Values) -> Trend:
    known = [int(value) for value in values if value is not None]
    return Trend("Waiting", values, f"{known[-1]:,} last, {max(known):,} at most" if known else UNKNOWN)


def _outcomes(finished: Values, failed: Values, bound: str = "") -> Trend:
    known = [int(value) for value in finished if value is not None]
    failures = int(sum(value or 0 for value in failed))
    tasks = "1 task" if sum(known) == 1 else f"{sum(known):,} tasks"
    return Trend(
        "Finished", finished, f"{bound}{tasks}, {f'{failures:,}' if failures else 'none'} failed" if known else UNKNOWN, failed
    )


def _memory(values: Values) -> Trend:
    known = [int(value) for value in values if value is not None]
    return Trend("Memory", values, f"{size(known[-1])} last, {size(max(known))} at most" if known else UNKNOWN)
