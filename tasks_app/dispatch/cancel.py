"""Cancelling tasks so that it lasts.

1. The wish is stored in PostgreSQL first (`cancel_requested_at`).
2. What has no message yet (SCHEDULED, PENDING, a RETRY held here) is REVOKED in the same transaction,
   and never reaches the broker. Should a relay have died right after sending it, its message is refused.
3. For what is on the broker, one script in Redis decides between the cancellation and a worker that is
   about to start (zenith_worker/wire/claims.py). Won: the task is REVOKED, and every worker, also one that
   starts next week, refuses its message.
4. What runs goes on, unless it is stopped by force: then its process is killed, and it is REVOKED
   once its worker says so.

A crash between the steps is made good by the engine (`settle`).
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import redis
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tasks_app.models import Task
from tasks_app.recording import live
from tasks_app.recording.apply import apply
from zenith_site.common.application import celery_app
from zenith_worker.wire import claims
from zenith_worker.wire.claims import Verdict
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import OPEN, Status, delivery_of, nesting_of

logger = logging.getLogger(__name__)

#: Tasks cancelled in one transaction.
CHUNK: Final = 1000
_HERE: Final = Q(status__in=(Status.SCHEDULED, Status.PENDING)) | Q(status=Status.RETRY, held=True)
#: What has a message, or of a replaced task will have one.
_ON_BROKER: Final = (Status.QUEUED, Status.RECEIVED, Status.RETRY, Status.REPLACED)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a wish to cancel, in numbers of tasks."""

    revoked: int
    running: int
    finished: int

    def __add__(self, other: "Cancelled") -> "Cancelled":
        return Cancelled(self.revoked + other.revoked, self.running + other.running, self.finished + other.finished)


def cancel(ids: Sequence[UUID], *, by: str, force: bool = False) -> Cancelled:
    """Cancel tasks, a chunk at a time. Raises django.db.Error or redis.RedisError.

    The wish is stored before Redis is asked: where that is away, the engine carries it out later.
    `by` names the caller on the timeline. With `force`, running tasks are killed.
    """
    total = Cancelled(0, 0, 0)
    for start in range(0, len(ids), CHUNK):
        total += _cancel_chunk(ids[start : start + CHUNK], by, force)
    return total


def revoke_requested() -> int:
    """Carry out wishes that a crash left behind; return how many tasks were revoked."""
    wished = Task.objects.filter(cancel_requested_at__isnull=False, status__in=_ON_BROKER)
    revoked, _ = _revoke_on_broker(list(wished.order_by("id")[:CHUNK]), "cancelled")
    return revoked


def _cancel_chunk(ids: Sequence[UUID], by: str, force: bool) -> Cancelled:
    reason = f"cancelled by {by}" if by else "cancelled"
    with transaction.atomic():
        Task.objects.filter(id__in=ids, status__in=OPEN, cancel_requested_at=None).update(cancel_requested_at=timezone.now())
        # Waits for a relay that is sending one of these just now, and then looks at its new status.
        here = list(Task.objects.select_for_update().filter(_HERE, id__in=ids).order_by("id"))
        running = _sent_all_the_same(here)
        mine = [task for task in here if task.id not in running]
        newest = apply([_revoked(task, reason) for task in mine])
    live.poke(newest)
    won, taken = _revoke_on_broker(
        list(Task.objects.filter(id__in=ids, status__in=_ON_BROKER, held=False).order_by("id")), reason
    )
    # A task may be running before PostgreSQL is told so.
    running |= taken | set(Task.objects.filter(id__in=ids, status=Status.STARTED).values_list("id", flat=True))
    if force and running:
        texts = [task.celery_id for task in Task.objects.filter(id__in=running).only("id", "text_id")]
        celery_app().control.revoke(texts, terminate=True, signal="SIGKILL")
    revoked = len(mine) + won
    return Cancelled(revoked, len(running), len(ids) - revoked - len(running))


def _sent_all_the_same(here: Sequence[Task]) -> set[UUID]:
    """Refuse the messages of tasks that should have none yet; return those tasks that run already.

    There is a message where a relay died after sending it. While Redis is away none is delivered
    either, and these tasks are not kept waiting for it.
    """
    now = timezone.now()
    due = [task for task in here if task.status == Status.PENDING or (task.not_before and task.not_before <= now)]
    try:
        return {task.id for task in due if claims.cancel(task.celery_id) != Verdict.CANCELLED}
    except redis.RedisError as error:
        logger.warning("Redis could not be asked about %s tasks that are cancelled: %s", len(due), error)
        return set()


def _revoke_on_broker(tasks: Sequence[Task], reason: str) -> tuple[int, set[UUID]]:
    """Revoke what does not run; return how many those are, and what runs."""
    verdicts = {task.id: claims.cancel(task.celery_id) for task in tasks}
    won = [task for task in tasks if verdicts[task.id] == Verdict.CANCELLED]
    if won:
        live.poke(apply([_revoked(task, reason) for task in won]))
    return len(won), {id_ for id_, verdict in verdicts.items() if verdict == Verdict.TAKEN}


def _revoked(task: Task, reason: str) -> Event:
    """Return the step that ends a task, in the delivery that its row shows."""
    return Event(
        task_id=task.celery_id, status=Status.REVOKED, at=time.time(), nesting=nesting_of(task.position),
        attempt=task.attempt - 1, delivery=delivery_of(task.position), message=reason,
    )  # fmt: skip
