"""The queues of a watched application as its observer measures them, in Zenith's Redis, for pages, metrics and the diagnosis.

Names are kept for an hour, so that an observer that takes over knows them; figures count for a minute.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from zenith_worker.wire.client import client
from zenith_worker.wire.keys import OBSERVED_QUEUES

#: Seconds after which a measured figure is unknown again.
FRESH: Final = 60.0
#: Seconds for which a name is kept that nothing tells any more.
KEPT: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedQueue:
    """A queue at an application's broker. None is not known.

    Attributes:
        at: when it was measured, as Unix time in seconds; 0 if it was not yet.
        depth: messages that wait.
        by_priority: pairs of a priority step and its messages, of those that have any; Redis tells them apart.
        consumers: how many consumers the broker counts; RabbitMQ does.
        next_ids: Celery's ids of the messages that are taken next, one for each priority; on Redis.
        unreadable: its key in Redis holds something else than a queue.
        missing: RabbitMQ has no such queue, or does not show it to this user.
        settled: whether a worker has said for two rounds that it consumes it, so that the broker must count that.
        queue_type, max_priority: with which workers declare it.
    """

    name: str
    at: float = 0.0
    depth: int | None = None
    by_priority: tuple[tuple[int, int], ...] = ()
    consumers: int | None = None
    next_ids: tuple[str, ...] = ()
    unreadable: bool = False
    missing: bool = False
    settled: bool = False
    queue_type: str | None = None
    max_priority: int | None = None

    @property
    def age(self) -> float:
        """Seconds since it was measured."""
        return max(0.0, time.time() - self.at)


def write(name: str, queues: Iterable[ObservedQueue]) -> None:
    """Keep what an observer measured. Raises redis.RedisError."""
    client().set(OBSERVED_QUEUES + name, json.dumps([asdict(queue) for queue in queues]), ex=KEPT)


def forget(name: str) -> None:
    """Remove what is known of an application's queues. Raises redis.RedisError."""
    client().delete(OBSERVED_QUEUES + name)


def names(name: str) -> list[str]:
    """Return the names of an application's queues that an observer knew lately. Raises redis.RedisError."""
    return [queue.name for queue in _parsed(client().get(OBSERVED_QUEUES + name))]


def read(name: str) -> dict[str, ObservedQueue]:
    """Return the queues of an application that were measured lately, by name. Raises redis.RedisError."""
    return read_several([name])[name]


def read_several(applications: Sequence[str]) -> dict[str, dict[str, ObservedQueue]]:
    """Return what `read` does for each of these applications, in one round trip. Raises redis.RedisError."""
    keys = [OBSERVED_QUEUES + name for name in applications]
    answers: Any = client().mget(keys) if keys else []
    return {
        name: {queue.name: queue for queue in _parsed(raw) if queue.age <= FRESH}
        for name, raw in zip(applications, answers, strict=True)
    }


def _parsed(raw: Any) -> list[ObservedQueue]:
    try:
        return [_queue(item) for item in json.loads(raw)] if raw else []
    except (ValueError, TypeError, KeyError, RecursionError):
        return []  # of another release


def _queue(item: dict[str, Any]) -> ObservedQueue:
    pairs = tuple((step, number) for step, number in item["by_priority"])
    return ObservedQueue(**{**item, "by_priority": pairs, "next_ids": tuple(item["next_ids"])})
