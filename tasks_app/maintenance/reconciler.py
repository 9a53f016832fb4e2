"""The reconciler: compares what PostgreSQL believes with what the broker and the workers say.

Each pass, of one engine at a time:

1. Messages that dead workers hold go back to their queues at once, instead of after the
   visibility timeout (`Recoverer`). A worker is dead when its heartbeat is over. So do messages that
   a living worker forgot, because it lost its connection meanwhile.
2. Tasks that should wait or run, but whose message is nowhere, are found (`Searcher`) and left to
   dispatch/ to send again: Redis lost its data, or a worker died between taking a message and
   noting that it did.

Nothing here runs on the way of a task, and what it repairs is a step on the task's timeline.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from tasks_app.models import Task
from zenith_site.common.debounce import Debounce
from zenith_site.common.faults import isolate_faults
from zenith_worker.wire import broker_queues, claims, stream
from zenith_worker.wire.broker_queues import NotAMessageError
from zenith_worker.wire.deliveries import count_lost, put_back
from zenith_worker.wire.heartbeat import DEAD_AFTER, read_all
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Entry

logger = logging.getLogger(__name__)

#: Seconds for which a message must be missed before its task counts as lost.
SETTLED_AFTER: Final = 20.0
#: Seconds that the oldest report may have waited for a recorder before nothing is concluded.
LAG_ALLOWED: Final = 5.0
#: The same for a message whose worker is dead, and for one that a living worker does not name any more.
DEATH_SETTLED_AFTER: Final = 4.0
FORGOTTEN_AFTER: Final = 10.0
#: The same for one whose task has ended, and which a living worker names all the same.
ENDED_SETTLED_AFTER: Final = 60.0
#: Seconds of age up to which a heartbeat tells what its worker holds.
FRESH: Final = 6.0
#: Seconds after the last look beyond which one tells nothing about the time between.
LATE: Final = 15.0
#: Seconds between two comparisons of a whole queue, message by message.
LISTING_EVERY: Final = 15.0


class HeldMessageRecovery:
    """Puts back messages that their workers will not acknowledge any more.

    A look may come just after Redis was away: then no heartbeat is left, and every worker beats again
    a moment later. So a message is put back only when it was found abandoned at every look for some
    time, and a look that comes late begins anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._abandoned = Debounce(LATE, clock)

    def look(self) -> int:
        """Put back what is abandoned by now; return how many messages. Raises redis.RedisError."""
        owners = broker_queues.owners()
        gone = broker_queues.dead(owners.values())
        held = {beat.instance: set(beat.tags) for beat in read_all() if beat.heartbeat_age < FRESH}
        kept = {tag for tag, owner in owners.items() if owner not in gone and tag in held.get(owner, ())}
        found = (self._of_dead(owners, gone), self._forgotten(owners, gone, held), self._of_ended(kept))
        lasting = self._abandoned.update(chain.from_iterable(found))
        for tag in (tag for tag, _ in lasting if tag in kept):
            logger.error("A worker has held message %s for %.0f s after its task's end; it is dropped.", tag, ENDED_SETTLED_AFTER)
        return sum(self._recover(tag, owners[tag], dead=owners[tag] in gone) for tag, _ in lasting)

    def _recover(self, tag: str, owner: str, *, dead: bool) -> bool:
        """Put a message back; what is none is set aside, so that it is not met again at every look."""
        with isolate_faults("reconciler", f"message {tag[:100]}"):
            try:
                return self._put_back(tag, owner, dead=dead)
            except NotAMessageError as error:
                stream.set_aside(Entry("0-0", error.raw), f"a message that a worker held: {error}")
                broker_queues.drop(tag)
        return False

    def _of_dead(self, owners: dict[str, str], gone: set[str]) -> Iterator[tuple[str, float]]:
        for tag, owner in owners.items():
            if owner in gone:
                yield tag, DEATH_SETTLED_AFTER

    def _of_ended(self, kept: set[str]) -> Iterator[tuple[str, float]]:
        """Yield what living workers still hold of tasks that have ended: an acknowledgement that never comes."""
        if not kept:
            return
        ids = {tag: id_ for tag, id_ in broker_queues.unacknowledged().items() if tag in kept}
        ended = claims.has_ended(list(ids.values()))
        yield from ((tag, ENDED_SETTLED_AFTER) for tag, id_ in ids.items() if id_ in ended)

    def _forgotten(self, owners: dict[str, str], gone: set[str], held: dict[str, set[str]]) -> Iterator[tuple[str, float]]:
        """Yield what living workers took over a connection that they lost, or acknowledged in vain."""
        for tag, owner in owners.items():
            if owner not in gone and owner in held and tag not in held[owner]:
                yield tag, FORGOTTEN_AFTER

    def _put_back(self, tag: str, owner: str, *, dead: bool) -> bool:
        headers = broker_queues.put_back(tag, owner, unless_alive=dead)
        if headers is None:
            return False
        run, id_ = RunNumber.of(headers), headers.get("id")
        reason = "its worker died" if dead else "its worker lost its connection and forgot it"
        logger.warning("The message of task %s went back to its queue: %s.", id_ or "?", reason)
        if not isinstance(id_, str):
            return True
        if dead:
            claims.abandon(id_, run, owner)
            count_lost(id_, run)
        stream.append([put_back(id_, run, f"{reason}; the message went back to its queue")])
        return True


@dataclass(frozen=True, slots=True)
class LostTask:
    """A task whose message is nowhere, as its row was read. `id` is the one by which Celery knows it."""

    key: UUID
    id: str
    status: str
    position: int


class LostTaskSearch:
    """Finds tasks whose message exists nowhere.

    Broker and database are read one after the other while tasks move, so a task is lost only
    when two looks some time apart miss it and its row has not changed between them. That also
    makes clocks irrelevant.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._missed = Debounce(LATE, clock)
        self._queued_missed: list[LostTask] = []
        self._next_listing = 0.0

    def look(self) -> list[LostTask]:
        """Return what is lost by now. Raises redis.RedisError or django.db.Error."""
        if stream.lag() > LAG_ALLOWED:
            # What PostgreSQL believes is old news: nothing can be concluded.
            self._missed.update([])
            return []
        held = _held()
        suspects = {task.id: task for task in _active() if task.id not in held}
        suspects |= {task.id: task for task in self._queued() if task.id not in held}
        ended = claims.has_ended(list(suspects))
        missed = [(task, SETTLED_AFTER) for id_, task in suspects.items() if id_ not in ended]
        self._queued_missed = [task for task, _ in missed if task.status in (Status.QUEUED, Status.RETRY)]
        return [task for task, _ in self._missed.update(missed)]

    def _queued(self) -> list[LostTask]:
        """Return tasks that should wait in their queue and do not, where there are too few messages in it.

        Those are QUEUED, or failed and their back-off is over: the next attempt's message left when they failed. Counting is
        cheap; comparing a long queue message by message is not, and is done rarely.
        """
        now = self._clock()
        overdue = Q(status=Status.RETRY, held=False, not_before__lt=timezone.now() - timedelta(seconds=SETTLED_AFTER))
        waits = Q(status=Status.QUEUED) | overdue
        rows = Task.objects.filter(waits).order_by().values_list("queue").annotate(Count("id"))
        short = [queue for queue, count in rows if (depth := broker_queues.depth(queue)) is not None and count > depth]
        if not short or now < self._next_listing:
            return self._queued_missed if short else []
        self._next_listing = now + LISTING_EVERY
        waiting = {id_ for queue in short for id_ in broker_queues.waiting_ids(queue)}
        return [task for task in _suspects(Task.objects.filter(waits, queue__in=short)) if task.id not in waiting]


def _held() -> set[str]:
    """Return the ids of all tasks that a message at a worker, or a living worker, vouches for."""
    held = set(broker_queues.unacknowledged().values())
    for worker in read_all():
        if worker.heartbeat_age < DEAD_AFTER:
            held.update(worker.held)
    return held


def _active() -> list[LostTask]:
    """Return tasks that a worker should hold."""
    return _suspects(Task.objects.filter(status__in=(Status.RECEIVED, Status.STARTED)))


def _suspects(tasks: QuerySet[Task]) -> list[LostTask]:
    rows = tasks.values_list("id", "text_id", "status", "position")
    return [LostTask(key, text_id or str(key), status, place) for key, text_id, status, place in rows]
