"""The reconciler: compares what PostgreSQL believes with what the broker and the workers say.

Each pass, of one engine at a time:

1. Messages that dead workers hold go back to their queues at once, instead of after the
   visibility timeout (`recover_messages`). A worker is dead when its heartbeat is over.
2. Tasks that should wait or run, but whose message is nowhere, are found (`Searcher`) and left to
   dispatch/ to send again: Redis lost its data, or a worker died between taking a message and
   noting that it did.

Nothing here runs on the way of a task, and what it repairs is a step on the task's timeline.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db.models import Count, Q
from django.utils import timezone

from tasks_app.models import Task
from tasks_app.states import Status
from tasks_app.tracking import claims, mailbox, stream
from tasks_app.tracking.crashes import put_back
from tasks_app.tracking.heartbeat import DEAD_AFTER, read_all

logger = logging.getLogger(__name__)

#: Seconds for which a message must be missed before its task counts as lost.
SETTLED_AFTER: Final = 20.0
#: Seconds that the oldest report may have waited for a recorder before nothing is concluded.
LAG_ALLOWED: Final = 5.0
#: Seconds between two comparisons of a whole queue, message by message.
LISTING_EVERY: Final = 15.0


def recover_messages() -> int:
    """Put messages of dead workers back; return how many. Raises redis.RedisError."""
    owners = mailbox.owners()
    gone = mailbox.dead(owners.values())
    recovered = 0
    for tag, owner in owners.items():
        if owner not in gone:
            continue
        headers = mailbox.put_back(tag, owner)
        if headers is not None:
            recovered += 1
            claims.abandon(headers["id"], owner)
            reason = "its worker died; the message went back to its queue"
            stream.append([put_back(headers["id"], headers.get("retries") or 0, reason)])
    if recovered:
        logger.warning("%s messages of %s dead workers went back to their queues.", recovered, len(gone))
    return recovered


@dataclass(frozen=True, slots=True)
class Lost:
    """A task whose message is nowhere, as its row was read."""

    id: str
    status: str
    position: int


class Searcher:
    """Finds tasks whose message exists nowhere.

    Broker and database are read one after the other while tasks move, so a task is lost only
    when two looks some time apart miss it and its row has not changed between them. That also
    makes clocks irrelevant.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._missed: dict[str, tuple[Lost, float]] = {}
        self._next_listing = 0.0

    def look(self) -> list[Lost]:
        """Return what is lost by now. Raises redis.RedisError or django.db.Error."""
        if stream.lag() > LAG_ALLOWED:
            self._missed.clear()  # what PostgreSQL believes is old news: nothing can be concluded
            return []
        held = _held()
        suspects = {task.id: task for task in _active() if task.id not in held}
        suspects |= {task.id: task for task in self._queued() if task.id not in held}
        ended = claims.has_ended(list(suspects))
        return self._missed_twice([task for id_, task in suspects.items() if id_ not in ended])

    def _queued(self) -> list[Lost]:
        """Return QUEUED tasks that their queue's lists do not hold, where there are too few messages.

        Counting is cheap; comparing a long queue message by message is not, and is done rarely.
        """
        now = self._clock()
        rows = Task.objects.filter(status=Status.QUEUED).order_by().values_list("queue").annotate(Count("id"))
        short = [queue for queue, count in rows if count > mailbox.depth(queue)]
        if not short or now < self._next_listing:
            return [task for task, _ in self._missed.values() if short and task.status == Status.QUEUED]
        self._next_listing = now + LISTING_EVERY
        waiting = {id_ for queue in short for id_ in mailbox.waiting_ids(queue)}
        tasks = Task.objects.filter(status=Status.QUEUED, queue__in=short).values_list("id", "status", "position")
        return [Lost(str(id_), status, place) for id_, status, place in tasks if str(id_) not in waiting]

    def _missed_twice(self, tasks: list[Lost]) -> list[Lost]:
        now = self._clock()
        before, self._missed = self._missed, {}
        lost = []
        for task in tasks:
            known, since = before.get(task.id, (task, now))
            since = since if known == task else now
            self._missed[task.id] = (task, since)
            if now - since >= SETTLED_AFTER:
                lost.append(task)
        return lost


def _held() -> set[str]:
    """Return the ids of all tasks that a message at a worker, or a living worker, vouches for."""
    held = set(mailbox.unacknowledged().values())
    for worker in read_all():
        if worker.heartbeat_age < DEAD_AFTER:
            held.update(worker.held)
    return held


def _active() -> list[Lost]:
    """Return tasks that a worker should hold, and failed ones whose next attempt is overdue."""
    overdue = Q(status=Status.RETRY, held=False, not_before__lt=timezone.now() - timedelta(seconds=SETTLED_AFTER))
    rows = Task.objects.filter(Q(status__in=(Status.RECEIVED, Status.STARTED)) | overdue)
    return [Lost(str(id_), status, place) for id_, status, place in rows.values_list("id", "status", "position")]
