"""Reports an outcome so that it cannot get lost, and counts only if this worker held the task."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import redis
from celery.exceptions import SoftTimeLimitExceeded

from zenith_worker.wire import claims
from zenith_worker.wire.claims import Stored
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import TERMINAL

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def report(event: Event, *, token: str, stored: Stored | None = None, long: bool = False) -> bool:
    """Report an outcome, store its result and release the task's claim. Return False if another worker holds the claim.

    In that case nothing was done, and nothing may follow from this outcome. With `long` the end is remembered for as long as a
    copy of the message may wait.

    The task's message stays unacknowledged until this returns. It waits for Redis without a limit: a worker can do nothing else
    without it, and giving up on a success would report a failure.
    """
    ends = event.status in TERMINAL
    counts = with_redis_retries(lambda: claims.finish(event, token=token, ends=ends, stored=stored, long=long))
    if not counts:
        logger.warning(
            "The outcome of task %s (%s) was dropped: another worker took the task over, or it had already ended.",
            event.task_id, event.status.value,
        )  # fmt: skip
    return counts


def with_redis_retries(attempt: Callable[[], Answer], *, patience: float = math.inf) -> Answer:
    """Run `attempt`; retry for up to `patience` seconds while Redis is unreachable or full, then raise redis.RedisError.

    `attempt` must be idempotent, as for `retry_while`.
    """
    return retry_while(redis.RedisError, attempt, patience=patience)


def retry_while(
    away: type[Exception], attempt: Callable[[], Answer], *, patience: float = math.inf, server: str = "Redis"
) -> Answer:
    """Run `attempt`; retry for up to `patience` seconds while it raises `away`, then raise that. `server` is for the log.

    A soft time limit that passes meanwhile no longer concerns the task's body, and only interrupts the pause. So `attempt` must
    be idempotent.
    """
    deadline = time.monotonic() + patience
    pause = 0.1
    while True:
        try:
            return attempt()
        except away as error:
            if time.monotonic() + pause > deadline:
                raise
            logger.warning("%s does not answer (%s); retrying.", server, error)
            pause = _sleep(pause)
        except SoftTimeLimitExceeded:
            logger.warning("A soft time limit passed outside of the task's body.")


def _sleep(pause: float) -> float:
    """Sleep, and return the next pause."""
    with suppress(SoftTimeLimitExceeded):
        time.sleep(pause)
    return min(pause * 2, 5.0)
