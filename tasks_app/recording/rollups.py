"""Count outcomes by minute, task name, queue and application, with histograms of runtimes, waiting times, CPU time and memory.

The histograms' bounds grow by the square root of two from 0.1 ms to over an hour, so a percentile read from them is off by at
most a fifth. The idea is that of Prometheus' exponential histograms.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from django.conf import settings
from django.db.backends.utils import CursorWrapper

from tasks_app.recording.arrays import column
from tasks_app.recording.reducer import TaskState
from zenith_site.common.sql import statements
from zenith_worker.wire.states import Status

#: Upper bounds in seconds; one more bucket holds everything above.
BOUNDS: Final = tuple(0.0001 * 2 ** (step / 2) for step in range(52))
BUCKETS: Final = len(BOUNDS) + 1
#: Bytes of memory that are counted like a second: so the first bucket ends at 1 MiB, and the last bound is 46 TiB.
BYTES_PER_SECOND: Final = 2**20 / BOUNDS[0]


@dataclass(slots=True)
class Tally:
    """How many tasks ended, how long they ran, and how long they had waited."""

    succeeded: int = 0
    failed: int = 0
    revoked: int = 0
    retried: int = 0
    runtime_seconds: float = 0.0
    waiting_seconds: float = 0.0
    runtimes: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    waits: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    cpu_seconds: float = 0.0
    # Empty if nothing is known: watched applications tell neither.
    cpus: list[int] = field(default_factory=list)
    memories: list[int] = field(default_factory=list)


#: A minute (Unix time), a task name, a queue, and an application.
Key = tuple[int, str, str, int]

_SQL: Final = statements(__file__)
_ADD: Final = _SQL["add_to_minutes"]
_MARK_LATE: Final = _SQL["mark_late"]

#: Seconds of a period that is summed up after its end (compaction.py), and after which further counts for it are late.
PERIOD: Final = 900
LATE_AFTER: Final = 600.0
#: Seconds by which the clocks of other people's machines may be ahead. What they report for later counts in no figures.
AHEAD: Final = 86_400.0
#: Pairs of task and queue of an attached application that a recorder tells apart, and the name of all further ones. The names
#: are a stranger's, and daily figures are kept forever.
MAX_PAIRS: Final = 1_000
OTHER: Final = "(other)"
_pairs: Final[dict[int, set[tuple[str, str]]]] = {}


def write_rollups(cursor: CursorWrapper, ended: Iterable[TaskState], retried: Iterable[tuple[TaskState, float]]) -> None:
    """Count tasks that ended, and attempts that failed and will run again (with their time), inside the open transaction.

    Tasks that raised `Ignore` have no outcome and are not counted. Nor is what another application reports with an impossible
    time: figures begin with their oldest minute, and its clock may say 1970.
    """
    tallies: dict[Key, Tally] = {}
    now = time.time()
    for state in (state for state in ended if state.status != Status.IGNORED):
        if is_credible(state, at := state.finished_at or 0.0, now):
            _count_end(tallies.setdefault(_key(state, at), Tally()), state)
    for state, at in retried:
        if is_credible(state, at, now):
            tallies.setdefault(_key(state, at), Tally()).retried += 1
    if tallies:
        # Always in the same order, so that two recorders never deadlock.
        rows = [_row(key, tally) for key, tally in sorted(tallies.items(), key=itemgetter(0))]
        cursor.execute(_ADD, [column(values) for values in zip(*rows, strict=True)])
    _mark_late(cursor, tallies)


def _row(key: Key, tally: Tally) -> tuple[object, ...]:
    return (
        *key, tally.succeeded, tally.failed, tally.revoked, tally.retried, tally.runtime_seconds, column(tally.runtimes),
        tally.waiting_seconds, column(tally.waits), tally.cpu_seconds, column(tally.cpus), column(tally.memories),
    )  # fmt: skip


def percentile(histogram: list[int], share: float) -> float | None:
    """Return the runtime in seconds below which `share` (0 to 1) of the counted runs lie."""
    rank = share * sum(histogram)
    if not rank:
        return None
    below = 0
    for lower, bound, count in zip((0.0, *BOUNDS), (*BOUNDS, BOUNDS[-1]), histogram, strict=True):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below += count
    return BOUNDS[-1]


def _mark_late(cursor: CursorWrapper, tallies: Iterable[Key]) -> None:
    """Mark periods that may already be summed up, so that they are summed up again."""
    now = time.time()
    starts = {minute // PERIOD * PERIOD for minute, *_ in tallies}
    for start in sorted(start for start in starts if start + PERIOD + LATE_AFTER < now):
        cursor.execute(_MARK_LATE, [start])


def _key(state: TaskState, at: float) -> Key:
    return int(at // 60) * 60, *_pair(state), state.application_id


def _pair(state: TaskState) -> tuple[str, str]:
    """Return the names under which a task is counted."""
    pair = state.name, state.queue
    if state.is_native:
        return pair
    known = _pairs.setdefault(state.application_id, set())
    if pair not in known and len(known) >= MAX_PAIRS:
        return OTHER, OTHER
    known.add(pair)
    return pair


def is_credible(state: TaskState, at: float, now: float) -> bool:
    """Return whether a time (Unix, in seconds) that a report names can be right."""
    return state.is_native or now - settings.ZENITH_RETENTION_DAYS * 86_400 < at < now + AHEAD


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
    if (seconds := _waiting_seconds(state)) is not None:
        tally.waiting_seconds += seconds
        tally.waits[bisect_left(BOUNDS, seconds)] += 1
    if state.cpu is not None:
        tally.cpu_seconds += state.cpu
        tally.cpus = _counted(tally.cpus, state.cpu)
    if state.memory is not None:
        tally.memories = _counted(tally.memories, state.memory / BYTES_PER_SECOND)


def _counted(histogram: list[int], value: float) -> list[int]:
    """Return a histogram, which may be empty, with one more value in it."""
    histogram = histogram or [0] * BUCKETS
    histogram[bisect_left(BOUNDS, value)] += 1
    return histogram


def _waiting_seconds(state: TaskState) -> float | None:
    """Return how long the last attempt waited for a worker, without its back-off."""
    if state.started_at is None or state.queued_at is None:
        return None
    return max(0.0, state.started_at - max(state.queued_at, state.not_before or 0.0))
