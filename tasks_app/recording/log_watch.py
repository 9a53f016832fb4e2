"""Who reads what a task logs: an open page says so now and then, and is told of new lines.

Otherwise every batch of lines would be a message to every web process, with the names of all tasks that logged something.
Redis holds the tasks that are read, each with the time (Unix time in seconds) until when that is so.
"""

import logging
import time
from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import redis

from zenith_site.common.live_updates import refresh_pages
from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import LOGS_WATCHED

logger = logging.getLogger(__name__)

#: Seconds for which somebody counts as reading, and tasks that are watched at most; the pages of others ask by themselves.
WATCHED_FOR: Final = 15
WATCHED_AT_MOST: Final = 10_000
PREFIX: Final = "task-log-"


def topic(task: UUID) -> str:
    """Return the topic of live updates that announces a task's new lines (zenith_site.common.live_updates)."""
    return f"{PREFIX}{task}"


def watch(task: UUID) -> None:
    """Say that somebody reads what a task logs, for the next WATCHED_FOR seconds. Never raises."""
    now = time.time()
    try:
        with client().pipeline(transaction=False) as pipe:
            pipe.zremrangebyscore(LOGS_WATCHED, "-inf", now)
            pipe.zremrangebyrank(LOGS_WATCHED, 0, -WATCHED_AT_MOST)
            pipe.zadd(LOGS_WATCHED, {str(task): now + WATCHED_FOR})
            pipe.execute()
    except redis.RedisError as error:
        logger.debug("A reader of the log of %s could not be noted: %s", task, error)


def tell_readers(tasks: Collection[UUID]) -> None:
    """Tell the open pages of these tasks that there are new lines. Never raises: they also ask by themselves."""
    try:
        watched: Any = client().zrangebyscore(LOGS_WATCHED, time.time(), "+inf")
    except redis.RedisError as error:
        logger.debug("The readers of logs are unknown: %s", error)
        return
    topics = {topic(task) for task in tasks}.intersection(f"{PREFIX}{text(member)}" for member in watched)
    if topics:
        refresh_pages(*sorted(topics))
