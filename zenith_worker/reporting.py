"""Reporting an outcome so that it cannot get lost, and counts only where the task was this worker's."""

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


def report(event: Event, *, tag: str, stored: Stored | None = None, long: bool = False) -> bool:
    """Report an outcome, store its result and let go of the task's claim; return False where another worker holds that.

    Then nothing was done, and nothing may follow from this outcome. With `long` the end is remembered for as long as a copy of
    the message may wait.

    Until this returns, the task's message stays unacknowledged. It waits for Redis for as long as that
    takes: a worker can do nothing else without it, and a success given up would be told as a failure.
    """
    ends = event.status in TERMINAL
    counts = with_redis_retries(lambda: claims.finish(event, tag=tag, ends=ends, stored=stored, long=long))
    if not counts:
        logger.warning(
            "The outcome of task %s (%s) is dropped: another worker took the task over, or it had ended.",
            event.task_id, event.status.value,
        )  # fmt: skip
    return counts


def with_redis_retries(attempt: Callable[[], Answer], *, patience: float = math.inf) -> Answer:
    """Do something in Redis, trying again for up to `patience` seconds while it is away or full.

    A soft time limit that passes meanwhile is not the task's body's any more, and only interrupts the pause; so what is
    attempted must bear being done twice. Raises redis.RedisError when patience ends.
    """
    deadline = time.monotonic() + patience
    pause = 0.1
    while True:
        try:
            return attempt()
        except redis.RedisError as error:
            if time.monotonic() + pause > deadline:
                raise
            logger.warning("Redis does not answer a worker (%s); trying again.", error)
            pause = _sleep(pause)
        except SoftTimeLimitExceeded:
            logger.warning("A soft time limit passed outside of the task's body.")


def _sleep(pause: float) -> float:
    """Sleep, and return how long to sleep the next time."""
    with suppress(SoftTimeLimitExceeded):
        time.sleep(pause)
    return min(pause * 2, 5.0)
