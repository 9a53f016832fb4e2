"""The reconciler: compares the state in PostgreSQL with the broker and the workers.

In each pass, which one engine at a time makes:

1. Messages held by dead workers go back to their queues at once, not only after the visibility timeout
   (`HeldMessageRecovery`). A worker is dead if its heartbeat has expired. Messages that a living worker forgot, because it
   lost its connection, go back as well.
2. Tasks that should wait or run but have no message anywhere are found (`LostTaskSearch`), and dispatch/ sends them again.
   Either Redis lost its data, or a worker died between taking a message and recording that.

No task waits for any of this, and every repair is a step on the task's timeline. Only tasks of Zenith's own application are
repaired: of the others, neither the broker is known nor what is right.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.faults import isolate_faults
from zenith_worker.wire import broker_queues, claims, held_messages, stream
from zenith_worker.wire.debounce import Debounce
from zenith_worker.wire.deliveries import count_lost, put_back
from zenith_worker.wire.heartbeat import DEAD_AFTER, read_all
from zenith_worker.wire.held_messages import NotAMessageError
from zenith_worker.wire.recovery import FORGOTTEN_AFTER, LATE, WORKER_DIED, WORKER_FORGOT, MessageRecovery
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Entry

logger = logging.getLogger(__name__)

#: Seconds for which a message must be missing before its task counts as lost.
SETTLED_AFTER: Final = 20.0
#: The longest lag of the recorders, in seconds, with which tasks can be judged lost.
LAG_ALLOWED: Final = 5.0
#: Seconds for which a living worker must report a message whose task has ended.
ENDED_SETTLED_AFTER: Final = 60.0
#: The oldest heartbeat, in seconds, that is trusted to tell what its worker holds.
FRESH: Final = 6.0
#: Seconds between two comparisons of a whole queue, message by message.
LISTING_EVERY: Final = 15.0


class HeldMessageRecovery(MessageRecovery):
    """Puts back messages that their workers will never acknowledge: also those that a living one has forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(held_messages.NATIVE, clock)
        self._kept_tags: set[str] = set()

    def suspects(self, owners: dict[str, str], dead_owners: set[str]) -> Iterator[tuple[str, float]]:
        """Yield abandoned messages: of dead workers, forgotten by living ones, and held on to after their task's end."""
        tags_of = {beat.instance: set(beat.tags) for beat in read_all() if beat.heartbeat_age < FRESH}
        self._kept_tags = {tag for tag, owner in owners.items() if owner not in dead_owners and tag in tags_of.get(owner, ())}
        yield from super().suspects(owners, dead_owners)
        yield from _forgotten(owners, dead_owners, tags_of)
        yield from _of_ended(self._kept_tags)

    def recover(self, tag: str, owner: str, *, dead: bool) -> bool:
        """Put a message back, or drop it if its task has ended."""
        if tag in self._kept_tags:
            logger.error("A worker has held message %s for %.0f s after its task's end; it is dropped.", tag, ENDED_SETTLED_AFTER)
        with isolate_faults("reconciler", f"message {tag[:100]}"):
            return super().recover(tag, owner, dead=dead)
        return False

    def refuse(self, tag: str, error: NotAMessageError) -> None:
        """Set aside what is no message."""
        stream.set_aside(Entry("0-0", error.raw), f"a message that a worker held: {error}")
        held_messages.NATIVE.drop(tag)

    def note(self, headers: dict[str, Any], owner: str, *, dead: bool) -> None:
        """Report a message that went back, and count it if its worker died."""
        run, id_ = RunNumber.of(headers), headers.get("id")
        reason = WORKER_DIED if dead else WORKER_FORGOT
        logger.warning("The message of task %s went back to its queue: %s.", id_ or "?", reason)
        if not isinstance(id_, str):
            return
        if dead:
            claims.abandon(id_, run, owner)
            count_lost(id_, run)
        stream.append([put_back(id_, run, f"{reason}; the message went back to its queue")])


def _of_ended(kept_tags: set[str]) -> Iterator[tuple[str, float]]:
    """Yield messages of ended tasks that living workers still hold: their acknowledgement never comes."""
    if not kept_tags:
        return
    ids = {tag: id_ for tag, id_ in broker_queues.unacknowledged().items() if tag in kept_tags}
    ended = claims.has_ended(list(ids.values()))
    yield from ((tag, ENDED_SETTLED_AFTER) for tag, id_ in ids.items() if id_ in ended)


def _forgotten(owners: dict[str, str], dead_owners: set[str], tags_of: dict[str, set[str]]) -> Iterator[tuple[str, float]]:
    """Yield messages that living workers no longer report: their connection broke, or the acknowledgement was lost."""
    for tag, owner in owners.items():
        if owner not in dead_owners and owner in tags_of and tag not in tags_of[owner]:
            yield tag, FORGOTTEN_AFTER


@dataclass(frozen=True, slots=True)
class LostTask:
    """A task without a message anywhere, as its row was read. `id` is the task's id in Celery."""

    key: UUID
    id: str
    status: str
    position: int


class LostTaskSearch:
    """Finds tasks whose message exists nowhere.

    Broker and database are read one after the other while tasks move on, so a task counts as lost only if its message is
    missing in every pass for some time and its row has not changed. That also makes clocks irrelevant.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._missed = Debounce(LATE, clock)
        self._queued_missed: list[LostTask] = []
        self._next_listing = 0.0

    def run_once(self) -> list[LostTask]:
        """Return the tasks that are lost by now. Raises redis.RedisError or django.db.Error."""
        if stream.lag() > LAG_ALLOWED:
            # The state in PostgreSQL is out of date: nothing can be concluded from it.
            self._missed.update([])
            return []
        held_ids = _held_ids()
        suspects = {task.id: task for task in _active() if task.id not in held_ids}
        suspects |= {task.id: task for task in self._queued() if task.id not in held_ids}
        ended = claims.has_ended(list(suspects))
        missed = [(task, SETTLED_AFTER) for id_, task in suspects.items() if id_ not in ended]
        self._queued_missed = [task for task, _ in missed if task.status in (Status.QUEUED, Status.RETRY)]
        return [task for task, _ in self._missed.update(missed)]

    def _queued(self) -> list[LostTask]:
        """Return tasks that should be in their queue but are not, for queues that have too few messages.

        These tasks are QUEUED, or in RETRY with their back-off over: the next attempt's message was sent when they failed.
        Counting is cheap; comparing a long queue message by message is not, so that is done rarely.
        """
        now = self._clock()
        overdue = Q(status=Status.RETRY, held=False, not_before__lt=timezone.now() - timedelta(seconds=SETTLED_AFTER))
        should_wait = Q(status=Status.QUEUED) | overdue
        rows = _own_tasks().filter(should_wait).order_by().values_list("queue").annotate(Count("id"))
        short_queues = [queue for queue, count in rows if (depth := broker_queues.depth(queue)) is not None and count > depth]
        if not short_queues or now < self._next_listing:
            return self._queued_missed if short_queues else []
        self._next_listing = now + LISTING_EVERY
        waiting = {id_ for queue in short_queues for id_ in broker_queues.waiting_ids(queue)}
        return [task for task in _suspects(_own_tasks().filter(should_wait, queue__in=short_queues)) if task.id not in waiting]


def _held_ids() -> set[str]:
    """Return the ids of all tasks with an unacknowledged message, or that a living worker reports."""
    ids = set(broker_queues.unacknowledged().values())
    for worker in read_all():
        if worker.heartbeat_age < DEAD_AFTER:
            ids.update(worker.held)
    return ids


def _active() -> list[LostTask]:
    """Return tasks that a worker should hold."""
    return _suspects(_own_tasks().filter(status__in=(Status.RECEIVED, Status.STARTED)))


def _own_tasks() -> QuerySet[Task]:
    return Task.objects.filter(application=NATIVE_ID)


def _suspects(tasks: QuerySet[Task]) -> list[LostTask]:
    rows = tasks.values_list("id", "text_id", "status", "position")
    return [LostTask(key, text_id or str(key), status, place) for key, text_id, status, place in rows]
