"""Cancel tasks for good.

1. The request is stored in PostgreSQL first (`cancel_requested_at`).
2. A task without a message (SCHEDULED, PENDING, a RETRY held in PostgreSQL) is REVOKED in the same transaction and never
   reaches the broker. If a relay died right after sending it, its message is refused.
3. For a task on the broker, one script in Redis decides between the cancellation and a worker that is about to start it
   (zenith_worker/wire/claims.py). If the cancellation wins, the task is REVOKED, and every worker, even one that starts
   next week, refuses its message.
4. A running task goes on, unless `force` is given: then its process is killed, and the task is REVOKED once its worker
   reports that.

If a crash comes between these steps, the engine completes them (`revoke_requested`).

Tasks of other applications are cancelled in other ways (cancel_attached.py, cancel_watched.py).
"""

import logging
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import redis
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tasks_app.dispatch.cancel_attached import attached_tasks, cancel_attached
from tasks_app.dispatch.cancel_watched import cancel_watched
from tasks_app.dispatch.cancelled import Cancelled, reason_of, revoked
from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.recording import live
from tasks_app.recording.apply import apply
from zenith_site.common.application import celery_app
from zenith_site.common.errors import ZenithError
from zenith_worker.wire import claims
from zenith_worker.wire.claims import Verdict
from zenith_worker.wire.states import OPEN, Status

logger = logging.getLogger(__name__)

#: Tasks cancelled in one transaction.
CHUNK: Final = 1000
_WITHOUT_MESSAGE: Final = Q(status__in=(Status.SCHEDULED, Status.PENDING)) | Q(status=Status.RETRY, held=True)
#: Statuses of tasks that have a message, or will have one once a replaced task continues.
_ON_BROKER: Final = (Status.QUEUED, Status.RECEIVED, Status.RETRY, Status.REPLACED)


def cancel(ids: Sequence[UUID], *, by: str, force: bool = False) -> Cancelled:
    """Cancel tasks, a chunk at a time. Raises django.db.Error or redis.RedisError.

    If those of a watched application cannot be cancelled now, the result says so; if there are no others, what `cancel_watched`
    raises is raised.

    The request is stored before Redis is asked: if Redis is unreachable, the engine carries it out later.
    `by` names the caller on the timeline. With `force`, running tasks are killed.
    """
    by_application = attached_tasks(ids)
    attached = {id_ for of_one in by_application.values() for id_ in of_one}
    ids = [id_ for id_ in ids if id_ not in attached]
    total = Cancelled(0, 0, 0)
    for start in range(0, len(ids), CHUNK):
        total += _cancel_chunk(ids[start : start + CHUNK], by, force)
    for application, its_ids in by_application.items():
        if not application.is_watched:
            total += cancel_attached(application, its_ids, by=by, force=force)
            continue
        try:
            total += cancel_watched(application, its_ids, by=by, force=force)
        except ZenithError as error:
            if not ids and len(by_application) == 1:
                raise
            total += Cancelled(0, 0, 0, problems=(str(error),))
    return total


def revoke_requested() -> int:
    """Carry out cancellations that a crash interrupted; return how many tasks were revoked."""
    requested = Task.objects.filter(cancel_requested_at__isnull=False, status__in=_ON_BROKER, application=NATIVE_ID)
    number, _ = _revoke_on_broker(list(requested.order_by("id")[:CHUNK]), "cancelled")
    return number


def _cancel_chunk(ids: Sequence[UUID], by: str, force: bool) -> Cancelled:
    reason = reason_of(by)
    with transaction.atomic():
        Task.objects.filter(id__in=ids, status__in=OPEN, cancel_requested_at=None).update(cancel_requested_at=timezone.now())
        # Waits for a relay that is sending one of these tasks, and then sees the new status.
        unsent = list(Task.objects.select_for_update().filter(_WITHOUT_MESSAGE, id__in=ids).order_by("id"))
        running = _refuse_messages(unsent)
        revocable = [task for task in unsent if task.id not in running]
        newest = apply([revoked(task, reason) for task in revocable])
    live.poke(newest)
    revoked_on_broker, claimed = _revoke_on_broker(
        list(Task.objects.filter(id__in=ids, status__in=_ON_BROKER, held=False).order_by("id")), reason
    )
    # A task may run before PostgreSQL records that it does.
    running |= claimed | set(Task.objects.filter(id__in=ids, status=Status.STARTED).values_list("id", flat=True))
    if force and running:
        texts = [task.celery_id for task in Task.objects.filter(id__in=running).only("id", "text_id")]
        celery_app().control.revoke(texts, terminate=True, signal="SIGKILL")
    number = len(revocable) + revoked_on_broker
    return Cancelled(number, len(running), len(ids) - number - len(running))


def _refuse_messages(unsent: Sequence[Task]) -> set[UUID]:
    """Have workers refuse the messages of tasks that should have none; return the ids of tasks that run already.

    There is a message if a relay died after sending it. If Redis is unreachable, no message is delivered either, so the
    cancellation does not wait for it.
    """
    now = timezone.now()
    due = [task for task in unsent if task.status == Status.PENDING or (task.not_before and task.not_before <= now)]
    try:
        return {task.id for task in due if claims.cancel(task.celery_id) != Verdict.CANCELLED}
    except redis.RedisError as error:
        logger.warning("Redis could not be asked about %s cancelled tasks: %s", len(due), error)
        return set()


def _revoke_on_broker(tasks: Sequence[Task], reason: str) -> tuple[int, set[UUID]]:
    """Revoke the tasks that do not run; return how many, and the ids of those that run."""
    verdicts = {task.id: claims.cancel(task.celery_id) for task in tasks}
    cancelled = [task for task in tasks if verdicts[task.id] == Verdict.CANCELLED]
    if cancelled:
        live.poke(apply([revoked(task, reason) for task in cancelled]))
    return len(cancelled), {id_ for id_, verdict in verdicts.items() if verdict == Verdict.TAKEN}
