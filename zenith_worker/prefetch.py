"""Tasks that wait in a worker's memory: they may keep it from taking another message although it has free slots.

Celery takes as many messages as its prefetch allows. A rate-limited task waits in memory for its turn, and occupies one of these
places. A task with an ETA waits in memory too, and raises the prefetch by one, so that its worker takes ever more.
"""

from __future__ import annotations

from collections import Counter
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
    firsts = [entry.entry.args[0] for entry in list(consumer.timer.schedule.queue) if entry.entry.args]
    waiting = Counter(first.name for first in firsts if isinstance(first, Request))
    return [Waiting(name, count) for name, count in waiting.most_common(MOST_KINDS)]
