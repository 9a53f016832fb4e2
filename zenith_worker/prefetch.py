"""What keeps a worker from taking another message though it has free slots: tasks that wait in its memory.

Celery takes as many messages as its prefetch allows. A task whose kind is rate limited waits there for its turn, and keeps one of
these places; one with an ETA waits there for its time, and raises the prefetch by one, so that its worker takes ever more.
"""

from collections import Counter
from typing import Any, Final

from celery.worker.request import Request

from zenith_worker.wire.heartbeat import Waiting

#: Kinds of tasks that a heartbeat names of each sort, those with the most tasks.
MOST_KINDS: Final = 20


def limit_of(consumer: Any) -> int:
    """Return how many messages a worker takes at once; 0 for as many as there are."""
    return int(consumer.qos.value or 0) if consumer.qos else 0


def limited(consumer: Any) -> list[Waiting]:
    """Return the kinds of tasks that wait for their rate limit, with how many wait and the limit as its task has it."""
    waiting = Counter({name: len(bucket.contents) for name, bucket in list(consumer.task_buckets.items()) if bucket})
    tasks = consumer.app.tasks
    return [
        Waiting(name, count, str(getattr(tasks.get(name), "rate_limit", "") or ""))
        for name, count in waiting.most_common(MOST_KINDS)
        if count
    ]


def not_yet(consumer: Any) -> list[Waiting]:
    """Return the kinds of tasks that wait for their ETA, with how many do: Celery keeps them in its timer only."""
    firsts = [entry.entry.args[0] for entry in list(consumer.timer.schedule.queue) if entry.entry.args]
    waiting = Counter(first.name for first in firsts if isinstance(first, Request))
    return [Waiting(name, count) for name, count in waiting.most_common(MOST_KINDS)]
