"""Counting outcomes by minute, task name and queue, with histograms of runtimes and of waiting times.

The histogram's bounds grow by the square root of two from 0.1 ms to over an hour, so a percentile
read from it is off by at most a fifth. The same idea as Prometheus' exponential histograms.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from django.db.backends.utils import CursorWrapper

from tasks_app.recording.reducer import TaskState
from zenith_worker.wire.states import Status

#: Upper bounds in seconds; one more bucket holds everything above.
BOUNDS: Final = tuple(0.0001 * 2 ** (step / 2) for step in range(52))
BUCKETS: Final = len(BOUNDS) + 1


@dataclass(slots=True)
class Tally:
    """What one batch adds to one minute of one task on one queue."""

    succeeded: int = 0
    failed: int = 0
    revoked: int = 0
    retried: int = 0
    runtime_seconds: float = 0.0
    runtimes: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    waiting_seconds: float = 0.0
    waits: list[int] = field(default_factory=lambda: [0] * BUCKETS)


Key = tuple[int, str, str]

_ADD: Final = """(
            SELECT array_agg(coalesce(mine, 0) + coalesce(theirs, 0) ORDER BY number)
            FROM unnest(kept.{0}, excluded.{0}) WITH ORDINALITY AS pair (mine, theirs, number))"""
_UPSERT: Final = f"""
    INSERT INTO tasks_app_minuterollup AS kept
        (minute, name, queue, succeeded, failed, revoked, retried, runtime_seconds,
         runtime_histogram, waiting_seconds, waiting_histogram)
    VALUES (to_timestamp(%s), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (minute, name, queue) DO UPDATE SET
        succeeded = kept.succeeded + excluded.succeeded,
        failed = kept.failed + excluded.failed,
        revoked = kept.revoked + excluded.revoked,
        retried = kept.retried + excluded.retried,
        runtime_seconds = kept.runtime_seconds + excluded.runtime_seconds,
        runtime_histogram = {_ADD.format("runtime_histogram")},
        waiting_seconds = kept.waiting_seconds + excluded.waiting_seconds,
        waiting_histogram = {_ADD.format("waiting_histogram")}
"""  # noqa: S608 -- names of columns

#: Seconds of a period that is summed up once it is over (periods.py), and after its end from when its minutes count as late.
PERIOD: Final = 900
LATE_AFTER: Final = 600.0
# DO UPDATE and not DO NOTHING: who takes the mark away waits for this transaction, and then sees what it counted.
_MARK_LATE: Final = """
    INSERT INTO tasks_app_lateperiod (start, touched_at) VALUES (to_timestamp(%s), now())
    ON CONFLICT (start) DO UPDATE SET touched_at = excluded.touched_at
"""


def write_rollups(cursor: CursorWrapper, ended: Iterable[TaskState], retried: Iterable[tuple[TaskState, float]]) -> None:
    """Add what ended, and what failed and will run again (with the time), inside the transaction.

    A body that raised `Ignore` wants no outcome, and is in none of these figures.
    """
    tallies: dict[Key, Tally] = {}
    for state in (state for state in ended if state.status != Status.IGNORED):
        _count_end(tallies.setdefault(_key(state, state.finished_at or 0.0), Tally()), state)
    for state, at in retried:
        tallies.setdefault(_key(state, at), Tally()).retried += 1
    # In one order everywhere, so that two recorders never wait for each other in a circle.
    for (minute, name, queue), tally in sorted(tallies.items()):
        cursor.execute(
            _UPSERT,
            [
                minute, name, queue, tally.succeeded, tally.failed, tally.revoked, tally.retried,
                tally.runtime_seconds, tally.runtimes, tally.waiting_seconds, tally.waits,
            ],
        )  # fmt: skip
    _mark_late(cursor, tallies)


def percentile(histogram: list[int], share: float) -> float | None:
    """Return the runtime in seconds below which `share` (0 to 1) of the counted runs lie."""
    wanted = share * sum(histogram)
    if not wanted:
        return None
    seen = 0
    for lower, bound, count in zip((0.0, *BOUNDS), (*BOUNDS, BOUNDS[-1]), histogram, strict=True):
        if count and seen + count >= wanted:
            return lower + (bound - lower) * (wanted - seen) / count
        seen += count
    return BOUNDS[-1]


def _mark_late(cursor: CursorWrapper, tallies: Iterable[Key]) -> None:
    """Have those periods summed up again that may have been already: this report comes late."""
    now = time.time()
    starts = {minute // PERIOD * PERIOD for minute, _, _ in tallies}
    for start in sorted(start for start in starts if start + PERIOD + LATE_AFTER < now):
        cursor.execute(_MARK_LATE, [start])


def _key(state: TaskState, at: float) -> Key:
    return int(at // 60) * 60, state.name, state.queue


def _count_end(tally: Tally, state: TaskState) -> None:
    if state.status == Status.SUCCESS:
        tally.succeeded += 1
    elif state.status == Status.FAILURE:
        tally.failed += 1
    else:
        tally.revoked += 1
    if state.runtime is not None:
        tally.runtime_seconds += state.runtime
        tally.runtimes[bisect_left(BOUNDS, state.runtime)] += 1
    if (waited := _waited(state)) is not None:
        tally.waiting_seconds += waited
        tally.waits[bisect_left(BOUNDS, waited)] += 1


def _waited(state: TaskState) -> float | None:
    """Return for how many seconds its last attempt waited for a worker; its back-off does not count."""
    if state.started_at is None or state.queued_at is None:
        return None
    return max(0.0, state.started_at - max(state.queued_at, state.not_before or 0.0))
