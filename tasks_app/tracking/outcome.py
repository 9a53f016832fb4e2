"""Reporting an outcome so that it cannot get lost, and counts only where the task was this worker's."""

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

import redis

from tasks_app.states import TERMINAL
from tasks_app.tracking import claims
from tasks_app.tracking.stream import Event

logger = logging.getLogger(__name__)

#: Seconds for which an outcome waits for Redis to come back.
PATIENCE: Final = 300.0

Answer = TypeVar("Answer")


def report(event: Event, *, tag: str) -> None:
    """Report an outcome and let go of the task's claim; it is dropped where another worker holds that.

    Until this returns, the task's message stays unacknowledged. Raises redis.RedisError when
    patience ends.
    """
    if not surely(lambda: claims.finish(event, tag=tag, ends=event.status in TERMINAL)):
        logger.warning(
            "The outcome of task %s (%s) is dropped: another worker took the task over, or it had ended.",
            event.task_id, event.status.value,
        )  # fmt: skip


def surely(attempt: Callable[[], Answer], *, patience: float = PATIENCE) -> Answer:
    """Do something in Redis, trying again for up to `patience` seconds while it is away or full.

    Raises redis.RedisError when patience ends.
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
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
