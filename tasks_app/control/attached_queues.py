"""Pause, resume and purge queues of attached applications.

Zenith does not see their brokers, so their workers do it.

A pause is a row in PostgreSQL. While a queue is paused

1. nothing is handed over that is known to go to it (dispatch/hand_over.py): its tasks stay PENDING, due ones SCHEDULED;
2. each of the application's workers stops consuming it with its next heartbeat, and one that starts does not begin to, if it can
   reach Zenith's Redis then (zenith_worker/wire/pauses.py). What the application itself sends waits at its broker.

A purge is a command to one worker, which removes the messages and reports their tasks as REVOKED (zenith_worker/wire/purges.py).
"""

from dataclasses import dataclass
from typing import Final

import redis
from django.db.models import QuerySet
from django.utils import timezone

from tasks_app.control.queues import checked_note
from tasks_app.dispatch.cancel_attached import CHUNK, cancel_attached
from tasks_app.errors import CommandWithdrawnError, PurgeUnansweredError
from tasks_app.maintenance import pauses
from tasks_app.models import Application, AttachedPause, Task
from tasks_app.queries import attached_queues
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.faults import is_unreachable
from zenith_site.common.jsonsafe import storable_text
from zenith_worker.wire import commands, control, purges
from zenith_worker.wire.queue_names import LONGEST
from zenith_worker.wire.states import Status

#: Paused queues of one application at most.
PAUSED_AT_MOST: Final = 1000
#: Messages, and tasks that were not sent yet, that are purged by one call.
MAX_PURGED: Final = purges.MOST


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a purge would remove.

    Attributes:
        messages: how many messages wait, as a worker counted last; None if none has told.
        known: how many tasks are known to wait, up to attached_queues.READ_AT_MOST.
        unsent: tasks that no worker was asked to send yet.
    """

    messages: int | None
    known: int
    unsent: int

    @property
    def number(self) -> int:
        """All that would go, as far as is known."""
        return (self.known if self.messages is None else self.messages) + self.unsent


@dataclass(frozen=True, slots=True)
class AttachedPurged:
    """The result of a purge.

    Attributes:
        removed: messages that are gone.
        told: those of them whose tasks are reported as REVOKED.
        unsent: tasks that were not sent yet, and are REVOKED.
        remaining: messages that still wait; None if that is not known.
        error: why it ended early; empty if it did not.
    """

    removed: int
    told: int
    unsent: int
    remaining: int | None
    error: str

    @property
    def revoked(self) -> int:
        """Tasks that are REVOKED now, or once the report of the worker is recorded."""
        return self.told + self.unsent

    @property
    def untold(self) -> int:
        """Messages that are gone and did not say which task they were of."""
        return self.removed - self.told


def pause(application: Application, queue: str, *, by: str, note: str = "") -> bool:
    """Pause a queue; return False if it is paused already, and leave that pause as it is.

    Raises InvalidInputError, StateConflictError for an application that is only watched, django.db.Error, or redis.RedisError:
    then the pause is stored, and the workers follow once Redis is back.
    """
    _check(application, queue)
    note = checked_note(note)
    if AttachedPause.objects.filter(application=application).count() >= PAUSED_AT_MOST:
        raise StateConflictError(f"{application.name} has {PAUSED_AT_MOST:,} paused queues; resume one first.")
    _, is_new = AttachedPause.objects.get_or_create(
        application=application, queue=queue, defaults={"paused_at": timezone.now(), "paused_by": by[:200], "note": note}
    )
    pauses.copy_attached()
    return is_new


def resume(application: Application, queue: str) -> bool:
    """Resume a queue; return False if it was not paused. What was held back is handed over then.

    Raises django.db.Error, or redis.RedisError: then the pause is gone, and the workers follow once Redis is back.
    """
    removed, _ = AttachedPause.objects.filter(application=application, queue=queue).delete()
    pauses.copy_attached()
    return bool(removed)


def count_waiting(application: Application, queue: str) -> Waiting:
    """Return what a purge would remove. Raises redis.RedisError."""
    view = attached_queues.find(application, queue)
    unsent = _unsent(application, queue).count()
    if view is None:
        return Waiting(None, 0, unsent)
    return Waiting(view.waiting, view.by_status.get(Status.QUEUED, 0), unsent)


def purge(application: Application, queue: str, *, by: str) -> AttachedPurged:
    """Have a worker remove the messages of a queue, at most MAX_PURGED, and revoke the tasks that were not sent to it yet.

    Raises InvalidInputError, StateConflictError if no worker can, CommandWithdrawnError if none did, PurgeUnansweredError,
    django.db.Error or redis.RedisError.
    """
    _check(application, queue)
    if not attached_queues.can_purge(application):
        raise StateConflictError(
            f"No worker of {application.name} is online that can purge a queue: that takes a broker that is Redis or RabbitMQ,"
            " and a zenith_worker of this release."
        )
    purged = _ask(application, queue, by)
    unsent = list(_unsent(application, queue).order_by("created_at").values_list("id", flat=True)[:MAX_PURGED])
    revoked = sum(
        cancel_attached(application, unsent[start : start + CHUNK], by=by).revoked for start in range(0, len(unsent), CHUNK)
    )
    return AttachedPurged(purged.removed, purged.told, revoked, purged.remaining, storable_text(purged.error))


def _ask(application: Application, queue: str, by: str) -> purges.Purged:
    name = application.key_name
    try:
        if commands.waiting(name) >= commands.WAITING_AT_MOST:
            raise StateConflictError(f"{commands.WAITING_AT_MOST:,} commands wait for the workers of {name}; try again later.")
        return purges.ask(name, queue, by)
    except control.WithdrawnError as error:
        raise CommandWithdrawnError(name, control.PATIENCE) from error
    except purges.UnansweredError as error:
        raise PurgeUnansweredError(name, purges.ANSWERED_WITHIN) from error
    except redis.ResponseError as error:
        if is_unreachable(error):
            raise
        raise StateConflictError(f"Commands to {name} cannot be written: {storable_text(str(error))[:200]}") from error


def _unsent(application: Application, queue: str) -> QuerySet[Task]:
    return Task.objects.filter(application=application, status=Status.PENDING, handed_at=None, queue=queue)


def _check(application: Application, queue: str) -> None:
    if application.is_watched:
        raise StateConflictError(
            f"Zenith only watches {application.name}: it neither pauses nor purges its queues. Attach it to do so"
            " (docs/attach.md)."
        )
    if not 0 < len(queue) <= LONGEST:
        raise InvalidInputError(Problem("/queue", f"must have 1 to {LONGEST} characters"))
