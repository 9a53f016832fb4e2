"""Pause, resume and purge queues of Zenith's own application; attached_queues.py has those of others.

A pause is a row in PostgreSQL, so it outlasts every restart. While a queue is paused

1. nothing is sent to it: its tasks stay PENDING, due ones SCHEDULED, failed ones in RETRY (dispatch/publish.py);
2. each worker stops consuming it with its next heartbeat, within two seconds, and a worker that starts does not begin to
   consume it (zenith_worker/consumers.py). Messages that are on the broker wait there.

Tasks that a worker has already reserved still run. Messages being sent at the moment of the pause still go out, and wait on
the broker.
"""

from dataclasses import dataclass
from typing import Final

from django.db.models import Q
from django.utils import timezone

from tasks_app.dispatch.cancel import CHUNK, cancel
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.maintenance import pauses
from tasks_app.models import QueuePause, Task
from tasks_app.models.application import NATIVE_ID
from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_worker.wire import broker_queues
from zenith_worker.wire.queue_names import why_reserved
from zenith_worker.wire.states import Status

MAX_NOTE: Final = 1000
#: Tasks purged by one call.
MAX_PURGED: Final = 10_000
# Another application may have a queue of the same name.
_WAITING: Final = Q(status__in=(Status.PENDING, Status.QUEUED), application=NATIVE_ID)


@dataclass(frozen=True, slots=True)
class Purged:
    """The result of a purge: tasks revoked, tasks already running, messages removed, and tasks that still wait."""

    revoked: int
    running: int
    removed: int
    remaining: int


def pause(queue: str, *, by: str, note: str = "") -> bool:
    """Pause a queue; return False if it is paused already, and leave that pause as it is.

    Raises InvalidInputError, django.db.Error, or redis.RedisError: then the pause is stored, and the workers
    follow once Redis is back.
    """
    refuse_reserved(queue)
    note = checked_note(note)
    _, is_new = QueuePause.objects.get_or_create(
        queue=queue, defaults={"paused_at": timezone.now(), "paused_by": by[:200], "note": note}
    )
    pauses.copy()
    return is_new


def checked_note(note: str) -> str:
    """Return the note of a pause if it can be stored. Raises InvalidInputError."""
    problems = list(jsonsafe.problems(note, "/note"))
    if len(note) > MAX_NOTE:
        problems.append(Problem("/note", f"must have at most {MAX_NOTE:,} characters"))
    if problems:
        raise InvalidInputError(*problems)
    return note


def resume(queue: str) -> bool:
    """Resume a queue; return False if it was not paused. The relay then sends the tasks that were held back.

    Raises django.db.Error, or redis.RedisError: then the pause is gone, and the workers follow once Redis is back.
    """
    removed, _ = QueuePause.objects.filter(queue=queue).delete()
    pauses.copy()
    return bool(removed)


def count_waiting(queue: str) -> int:
    """Return how many tasks a purge would revoke: those on the broker and those about to be sent there."""
    return Task.objects.filter(_WAITING, queue=queue).count()


def purge(queue: str, *, by: str, limit: int = MAX_PURGED) -> Purged:
    """Revoke up to `limit` tasks that wait in a queue, oldest first, and remove their messages.

    Each ends as REVOKED with an event that names `by`. A message whose task PostgreSQL does not know yet stays in the queue.
    Raises InvalidInputError, django.db.Error or redis.RedisError; what was purged before the error stays purged.
    """
    refuse_reserved(queue)
    total = Cancelled(0, 0, 0)
    newest = None
    while limit > 0:
        waiting = Task.objects.filter(_WAITING, queue=queue).order_by("id")
        chunk = (waiting.filter(id__gt=newest) if newest else waiting)[: min(CHUNK, limit)]
        ids = list(chunk.values_list("id", flat=True))
        if not ids:
            break
        total += cancel(ids, by=by)
        newest = ids[-1]
        limit -= len(ids)
    return Purged(total.revoked, total.running, broker_queues.sweep(queue), count_waiting(queue))


def refuse_reserved(queue: str) -> None:
    """Raise InvalidInputError if a queue must not have this name, since a Redis key of that name holds something else."""
    if reason := why_reserved(queue):
        raise InvalidInputError(Problem("/queue", reason))
