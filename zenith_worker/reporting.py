"""Reports an outcome so that it cannot get lost, and counts only if this worker held the task.

What waits for Zenith's Redis waits without a limit, unless `never_wait` was called, as for an attached application whose tasks
go on while Zenith is away. Then each call fails at once for a while after one has failed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import redis
from celery.exceptions import SoftTimeLimitExceeded

from zenith_worker.wire import claims
from zenith_worker.wire.claims import Stored
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import TERMINAL

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def report(event: Event, *, token: str, stored: Stored | None = None, long: bool = False, patience: float = math.inf) -> bool:
    """Report an outcome, store its result and release the task's claim. Return False if another worker holds the claim.

    In that case nothing was done, and nothing may follow from this outcome. With `long` the end is remembered for as long as a
    copy of the message may wait.

    The task's message stays unacknowledged until this returns. It waits for Redis without a limit, unless `patience` gives one in
    seconds: a worker can do nothing else without it, and giving up on a success would report a failure.
    """
    ends = event.status in TERMINAL
    counts = with_redis_retries(lambda: claims.finish(event, token=token, ends=ends, stored=stored, long=long), patience=patience)
    if not counts:
        logger.warning(
            "The outcome of task %s (%s) was dropped: another worker took the task over, or it had already ended.",
            event.task_id, event.status.value,
        )  # fmt: skip
    return counts


class _Waiting:
    """How long this process waits for Redis at most, in seconds; and until when it does not even try (monotonic clock)."""

    at_most: float = math.inf
    away_until: float = 0.0
    away_for: float = 0.0


#: Seconds for which a Redis that did not answer is not asked again, if nobody waits for it: at first, and at most. Finding out
#: that it hangs takes a time-out each time.
AWAY_FOR: Final = 10.0
AWAY_FOR_AT_MOST: Final = 60.0


def never_wait() -> None:
    """Let everything in this process that needs Zenith's Redis fail while it is away."""
    _Waiting.at_most = 0.0


def never_waits() -> bool:
    """Whether nothing in this process waits for Redis."""
    return _Waiting.at_most == 0


def is_away() -> bool:
    """Whether Redis did not answer lately, so that it is not even asked; never in a process that waits."""
    return time.monotonic() < _Waiting.away_until


def note_away() -> None:
    """Note that Redis does not answer, if this process never waits for it."""
    if never_waits():
        if not is_away():
            logger.warning("Zenith's Redis does not answer; tasks go on without it.")
            _Waiting.away_for = min(max(2 * _Waiting.away_for, AWAY_FOR), AWAY_FOR_AT_MOST)
        _Waiting.away_until = time.monotonic() + _Waiting.away_for


def with_redis_retries(attempt: Callable[[], Answer], *, patience: float = math.inf) -> Answer:
    """Run `attempt`; retry for up to `patience` seconds while Redis is unreachable or full, then raise redis.RedisError.

    In a process that never waits it is not repeated. `attempt` must be idempotent, as for `retry_while`.
    """
    if is_away():
        raise redis.ConnectionError("Zenith's Redis did not answer lately")
    try:
        answer = retry_while(redis.RedisError, attempt, patience=min(patience, _Waiting.at_most))
    except redis.RedisError:
        note_away()
        raise
    _Waiting.away_for = 0.0
    return answer


def retry_while(
    away: type[Exception], attempt: Callable[[], Answer], *, patience: float = math.inf, server: str = "Redis"
) -> Answer:
    """Run `attempt`; retry for up to `patience` seconds while it raises `away`, then raise that. `server` is for the log.

    A soft time limit that passes meanwhile no longer concerns the task's body, and only interrupts the pause. So `attempt` must
    be idempotent.
    """
    deadline = time.monotonic() + patience
    wait = 0.1
    while True:
        try:
            return attempt()
        except away as error:
            if time.monotonic() + wait > deadline:
                raise
            logger.warning("%s does not answer (%s); retrying.", server, error)
            pause(wait)
            wait = min(wait * 2, 5.0)
        except SoftTimeLimitExceeded:
            logger.warning("A soft time limit passed outside of the task's body.")


def pause(seconds: float) -> None:
    """Sleep outside of a task's body, which a soft time limit would interrupt."""
    with suppress(SoftTimeLimitExceeded):
        time.sleep(seconds)
