"""Cancel tasks of attached applications.

1. The request is stored in PostgreSQL (`cancel_requested_at`).
2. A task that was not handed over to its application yet (hand_over.py) is REVOKED in the same transaction. While Redis cannot be
   asked, this holds only for a scheduled task that is not due; of all others the engine decides later.
3. The ids of all others are remembered in Redis, where every worker of the application reads them, also one that starts later,
   and one worker is asked to revoke them on all workers at once. A running task goes on, unless `force` is given. With the guard
   `claims`, each task that is about to start is looked up there, so that workers that have not heard of it refuse it as well.
4. Such a task is REVOKED once a worker reports that it has refused or killed it.

If a crash or an outage comes between 1 and 3, the engine passes the request on (`RequestedCancellations`). If Redis lost the
command to send a cancelled task, nobody sends it, and so no worker reports anything: the engine revokes that task.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import redis
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tasks_app.dispatch.cancelled import Cancelled, reason_of, revoked
from tasks_app.dispatch.hand_over import note_handed
from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.application import Kind as ApplicationKind
from tasks_app.recording import live
from tasks_app.recording.apply import apply
from zenith_site.common.faults import is_unreachable, record_fault
from zenith_worker.wire import commands
from zenith_worker.wire.commands import Kind
from zenith_worker.wire.states import OPEN, Status

logger = logging.getLogger(__name__)

#: Tasks cancelled in one transaction, and named in one command.
CHUNK: Final = 500
#: Seconds between two looks for requests that were not passed on.
LOOK_EVERY: Final = 60.0
#: The newest requests of an application that are looked at: fewer than its workers remember, so that none pushes another out.
LOOKED_AT: Final = commands.CANCELLED_AT_MOST // 2
#: Seconds after which Redis is asked whether it still knows a cancelled task: no relay is handing it over any more by then.
SETTLED_AFTER: Final = 60.0
#: The oldest requests that Redis is asked about: more than it can know, so that those it knows keep none of the others back.
SETTLED_AT_MOST: Final = 2 * commands.WAITING_AT_MOST
_UNSENT: Final = (Status.SCHEDULED, Status.PENDING)
_NOT_HANDED: Final = Q(status=Status.SCHEDULED) | Q(status=Status.PENDING, handed_at=None)


def attached_tasks(ids: Sequence[UUID]) -> dict[Application, list[UUID]]:
    """Return those of these tasks that belong to other applications, by application. Two queries at most."""
    rows = Task.objects.filter(id__in=ids).exclude(application=NATIVE_ID).order_by("id").values_list("application_id", "id")
    by_id: dict[int, list[UUID]] = defaultdict(list)
    for application_id, id_ in rows:
        by_id[application_id].append(id_)
    return {application: by_id[application.pk] for application in Application.objects.filter(id__in=by_id)} if by_id else {}


def cancel_attached(application: Application, ids: Sequence[UUID], *, by: str, force: bool = False) -> Cancelled:
    """Cancel tasks of another application. Raises django.db.Error or redis.RedisError; then the engine passes the request on.

    If only this application's keys in Redis cannot be used, nothing is raised.
    """
    total = Cancelled(0, 0, 0)
    for start in range(0, len(ids), CHUNK):
        total += _cancel_chunk(application, ids[start : start + CHUNK], by, force)
    return total


class RequestedCancellations:
    """Completes requests that a crash or an outage interrupted.

    Tasks that Redis does not know as handed over are revoked; for others, the requests that their application does not remember
    are passed on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_look = float("-inf")

    def run_once(self) -> int:
        """Every minute, complete such requests; return how many. Raises django.db.Error or redis.RedisError."""
        if self._clock() < self._next_look:
            return 0
        self._next_look = self._clock() + LOOK_EVERY
        requested = Task.objects.filter(cancel_requested_at__isnull=False, status__in=OPEN).exclude(application=NATIVE_ID)
        ids = set(requested.order_by().values_list("application_id", flat=True))
        # What was asked of a watched application is over.
        applications = Application.objects.filter(id__in=ids, kind=ApplicationKind.ATTACHED)
        return sum(map(_complete, applications))


def _cancel_chunk(application: Application, ids: Sequence[UUID], by: str, force: bool) -> Cancelled:
    with transaction.atomic():
        # Waits for a relay that is handing one of these tasks over, and then sees that it was.
        open_tasks = list(
            Task.objects.select_for_update().filter(id__in=ids, status__in=OPEN).defer("args", "kwargs").order_by("id")
        )
        requested_before = [task.id for task in open_tasks if task.cancel_requested_at is None]
        Task.objects.filter(id__in=requested_before).update(cancel_requested_at=timezone.now())
        unsent, undecided = _unsent(application, open_tasks)
        events = [revoked(task, reason_of(by), application.key_name) for task in unsent]
        newest = apply(events, {application.key_name: application.pk})
    live.poke(newest)
    kept = {task.id for task in (*unsent, *undecided)}
    sent = [task.celery_id for task in open_tasks if task.id not in kept]
    _pass_on(application, sent, force)
    return Cancelled(len(unsent), 0, len(ids) - len(open_tasks), len(sent) + len(undecided))


def _unsent(application: Application, locked: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """Return the tasks that were not handed over, and those of which nobody can tell now. Must be inside the transaction.

    If a relay died right after it had handed a task over, only Redis knows that. If Redis does not answer, the engine decides
    once it does (`RequestedCancellations`).
    """
    unsent = [
        task for task in locked if task.status == Status.SCHEDULED or (task.status == Status.PENDING and task.handed_at is None)
    ]
    try:
        return _unknown(application, unsent), []
    except redis.RedisError as error:
        logger.warning("Redis could not be asked about %s cancelled tasks: %s", len(unsent), error)
        # If the application has broken its keys, no later look would tell more.
        undecided = {task for task in unsent if is_unreachable(error) and _perhaps_handed(task)}
        return [task for task in unsent if task not in undecided], list(undecided)


def _perhaps_handed(task: Task) -> bool:
    """Whether a relay may have handed over a task whose row says that none did."""
    return task.status == Status.PENDING or (task.not_before is not None and task.not_before <= timezone.now())


def _unknown(application: Application, locked: Sequence[Task]) -> list[Task]:
    """Return the tasks that Redis does not know as handed over, and note of the others that they were.

    Raises redis.RedisError; then nothing was changed. Must be inside a transaction.
    """
    handed = commands.handed_over(application.key_name, [task.celery_id for task in locked])
    noted = [task for task in locked if task.celery_id in handed and (task.status == Status.SCHEDULED or task.handed_at is None)]
    if noted:
        note_handed([task.id for task in noted], [task.id for task in noted if task.status == Status.SCHEDULED])
    return [task for task in locked if task.celery_id not in handed]


def _pass_on(application: Application, celery_ids: Sequence[str], force: bool = False) -> bool:
    """Pass cancellations on to an application; return whether its keys could be used. Raises redis.RedisError."""
    if not celery_ids:
        return True
    name = application.key_name
    body = {"ids": list(celery_ids), **({"signal": "SIGKILL"} if force else {})}
    try:
        commands.remember_cancelled(name, celery_ids)
        # If so many commands wait, no worker reads them: one that starts reads the remembered ids.
        if commands.waiting(name) < commands.WAITING_AT_MOST:
            commands.ask(name, Kind.REVOKE, body)
    except redis.ResponseError as error:
        if is_unreachable(error):
            raise
        record_fault("cancel", error, f"the application {name}")
        return False
    return True


def _complete(application: Application) -> int:
    """Complete the requests of an application; return how many. Raises django.db.Error, or redis.RedisError if unreachable."""
    completed = 0
    for step in (_settle, _pass_on_unknown):
        try:
            completed += step(application)
        except redis.ResponseError as error:
            if is_unreachable(error):
                raise
            record_fault("reconciler", error, f"the application {application}")
    return completed


def _settle(application: Application) -> int:
    """Revoke cancelled tasks that no worker will ever send; return how many. Raises redis.RedisError.

    A task that a relay handed over before it died is PENDING from then on, and its workers refuse it.
    """
    revoked_now = 0
    for ids in _unsettled(application):
        with transaction.atomic():
            locked = Task.objects.select_for_update().filter(id__in=ids, status__in=_UNSENT).defer("args", "kwargs")
            lost = _unknown(application, list(locked.order_by("id")))
            events = [revoked(task, reason_of(""), application.key_name) for task in lost]
            newest = apply(events, {application.key_name: application.pk})
        live.poke(newest)
        # A worker may have sent one of them before Redis lost what it knew.
        _pass_on(application, [task.celery_id for task in lost if task.handed_at is not None])
        revoked_now += len(lost)
    if revoked_now:
        logger.warning("%s cancelled tasks of %s were revoked: Redis does not know them.", revoked_now, application)
    return revoked_now


def _unsettled(application: Application) -> Iterator[list[UUID]]:
    """Yield the ids of cancelled tasks of which Redis and the row disagree, some at a time. Raises redis.RedisError."""
    before = timezone.now() - timedelta(seconds=SETTLED_AFTER)
    tasks = list(
        Task.objects.filter(application=application, cancel_requested_at__lt=before, status__in=_UNSENT)
        .only("id", "text_id", "status", "handed_at")
        .order_by("cancel_requested_at")[:SETTLED_AT_MOST]
    )
    for start in range(0, len(tasks), CHUNK):
        chunk = tasks[start : start + CHUNK]
        handed = commands.handed_over(application.key_name, _ids(chunk))
        agreed = {task.id for task in chunk if task.celery_id in handed and task.status == Status.PENDING and task.handed_at}
        if ids := [task.id for task in chunk if task.id not in agreed]:
            yield ids


def _pass_on_unknown(application: Application) -> int:
    """Pass on the requests that an application does not remember; return how many. Raises redis.RedisError."""
    tasks = (
        Task.objects.filter(application=application, cancel_requested_at__isnull=False, status__in=OPEN)
        .exclude(_NOT_HANDED)
        .only("id", "text_id")
        .order_by("-cancel_requested_at")[:LOOKED_AT]
    )
    known = set(commands.cancelled(application.key_name))
    unknown = [id_ for id_ in _ids(tasks) if id_ not in known]
    for start in range(0, len(unknown), CHUNK):
        _pass_on(application, unknown[start : start + CHUNK])
    if unknown:
        logger.warning("%s cancellations were passed on to %s once more.", len(unknown), application)
    return len(unknown)


def _ids(tasks: Iterable[Task]) -> list[str]:
    return [task.celery_id for task in tasks]
