"""Tasks that wait in a worker's memory: they may keep it from taking another message although it has free slots.

Celery takes as many messages as its prefetch allows. A rate-limited task waits in memory for its turn, and occupies one of these
places. A task with an ETA waits in memory too, and raises the prefetch by one, so that its worker takes ever more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from time import time
from typing import Any, Final

from celery.worker.request import Request

from zenith_worker.wire.heartbeat import Waiting

#: Task names that a heartbeat lists in each group: those with the most tasks.
MOST_KINDS: Final = 20


def prefetch_limit(consumer: Any) -> int:
    """Return how many messages a worker prefetches; 0 for no limit."""
    return int(consumer.qos.value or 0) if consumer.qos else 0


def waiting_for_rate_limit(consumer: Any) -> list[Waiting]:
    """Return the tasks that wait for their rate limit, by name, with their number and the limit."""
    waiting = Counter({name: len(bucket.contents) for name, bucket in list(consumer.task_buckets.items()) if bucket})
    tasks = consumer.app.tasks
    return [
        Waiting(name, count, str(getattr(tasks.get(name), "rate_limit", "") or ""))
        for name, count in waiting.most_common(MOST_KINDS)
        if count
    ]


def waiting_for_eta(consumer: Any) -> list[Waiting]:
    """Return the tasks that wait for their ETA, by name, with their number. Celery keeps them only in its timer."""
    waiting = Counter(request.name for request in _timed_requests(consumer))
    return [Waiting(name, count) for name, count in waiting.most_common(MOST_KINDS)]


def longest_eta(consumer: Any) -> float | None:
    """Return the seconds until the last task that waits for its ETA is due; None if none does."""
    due = max((request.eta.timestamp() for request in _timed_requests(consumer) if request.eta), default=None)
    return None if due is None else max(0.0, due - time())


def _timed_requests(consumer: Any) -> Iterator[Request]:
    for scheduled in list(consumer.timer.schedule.queue):
        first = scheduled.entry.args[0] if scheduled.entry.args else None
        if isinstance(first, Request):
            yield first
