"""Cancel tasks of watched applications: Celery's own `revoke`, which an observer sends to all of their workers.

1. The request is stored in PostgreSQL, with a note on each task's timeline that says who asked.
2. The observer sends it, and the workers answer. If nothing was sent, what was stored is taken back.
3. Workers keep revoked ids in memory, and refuse such a task when its turn comes. A running one goes on, unless `force` is given.
   What becomes of it, Celery's events tell: only then the task is REVOKED.

So a task of a worker that is down is not reached, and nothing is tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import redis
from django.db import connection, transaction
from django.db.models import Count, Q
from django.utils import timezone

from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.errors import CommandWithdrawnError, WorkerSilentError
from tasks_app.models import Application, Task, TaskEvent
from tasks_app.recording import live
from tasks_app.recording.events import EventRow, write_events
from tasks_app.watching import requests
from tasks_app.watching.requests import REVOKE
from zenith_site.common.errors import StateConflictError, ZenithError
from zenith_site.common.jsonsafe import storable_text
from zenith_worker.wire import control, heartbeat
from zenith_worker.wire.states import OPEN, Status, note_position

#: Tasks of one request: a worker of Celery 5.6 or later asks its result backend about each, and does nothing else meanwhile.
CHUNK: Final = requests.IDS_AT_MOST
#: Seconds after which no further request is made.
LONGEST: Final = 15.0
#: Workers that one problem names, and characters of what one of them said.
_NAMED: Final = 5
_SAID: Final = 300


@dataclass(slots=True)
class _Asked:
    """What was stored of a request, to take it back: the new notes, and the tasks that nobody had asked for before."""

    at: datetime
    celery_ids: list[str] = field(default_factory=list)
    requested: list[UUID] = field(default_factory=list)
    notes: list[int] = field(default_factory=list)


def cancel_watched(application: Application, ids: Sequence[UUID], *, by: str, force: bool = False) -> Cancelled:
    """Cancel tasks of a watched application; what goes wrong after the first of them is one of the result's `problems`.

    Raises StateConflictError if nothing was sent or no worker obeyed, CommandWithdrawnError, WorkerSilentError, django.db.Error
    or redis.RedisError.
    """
    total = Cancelled(0, 0, 0)
    workers = [beat.name for beat in heartbeat.read_all(application.key_name) if beat.online][: requests.WORKERS_AT_MOST]
    ends_at = time.monotonic() + LONGEST
    for start in range(0, len(ids), CHUNK):
        try:
            if time.monotonic() > ends_at:
                raise StateConflictError(f"its workers took more than {LONGEST:g} s for the others. Try again.")
            done, workers = _cancel_chunk(application, ids[start : start + CHUNK], workers, by, force)
        except ZenithError as error:
            if not start:
                raise
            problem = f"{len(ids) - start:,} tasks of {application.name} were left out: {error}"
            return total + Cancelled(0, 0, 0, problems=(problem,))
        total += done
    return total


def note_of(by: str, *, force: bool) -> str:
    """Return what the timeline says of a request."""
    return ("stopping it" if force else "cancelling it") + " was asked for" + (f" by {by}" if by else "")


def _cancel_chunk(
    application: Application, ids: Sequence[UUID], workers: Sequence[str], by: str, force: bool
) -> tuple[Cancelled, list[str]]:
    """Cancel some tasks; return the result, and the workers whose answers are worth waiting for."""
    asked = _store(ids, note_of(by, force=force))
    if not asked.celery_ids:
        return Cancelled(0, 0, len(ids)), list(workers)
    try:
        answers = _revoke(application, asked.celery_ids, workers, force)
        obeyed = [name for name, answer in answers.items() if "error" not in answer]
        if answers and not obeyed:
            raise StateConflictError(" ".join(_refusals(answers)))
    except (StateConflictError, CommandWithdrawnError, redis.RedisError):
        _take_back(asked)
        raise
    live.poke(max(asked.notes, default=None))
    if not answers:
        # It may have reached them nevertheless, so what was stored stays.
        raise WorkerSilentError(_some(workers), control.ANSWERED_WITHIN)
    problems = (*_refusals(answers), *_silence([name for name in workers if name not in answers]))
    return Cancelled(0, 0, len(ids) - len(asked.celery_ids), len(asked.celery_ids), problems), list(answers)


def _store(ids: Sequence[UUID], note: str) -> _Asked:
    """Store who asks for what. A note that a task has already is not written again."""
    asked = _Asked(timezone.now())
    with transaction.atomic():
        tasks = Task.objects.select_for_update().filter(id__in=ids, status__in=OPEN).defer("args", "kwargs").order_by("id")
        open_tasks = list(tasks)
        asked.celery_ids = [task.celery_id for task in open_tasks]
        asked.requested = [task.id for task in open_tasks if task.cancel_requested_at is None]
        Task.objects.filter(id__in=asked.requested).update(cancel_requested_at=asked.at)
        asked.notes = _write_notes(open_tasks, note, asked.at)
    return asked


def _write_notes(tasks: Iterable[Task], note: str, at: datetime) -> list[int]:
    """Write a note to the timelines; return the events' ids. The caller's locks make each number unique for its task."""
    by_id = {task.id: task for task in tasks}
    notes = TaskEvent.objects.filter(task__in=by_id, position__lt=0).order_by()
    counts = {
        row["task"]: row
        for row in notes.values("task").annotate(number=Count("id"), same=Count("id", filter=Q(message=note)))
    }  # fmt: skip
    rows = [
        EventRow(
            id_, Status(task.status), note_position(counts[id_]["number"] if id_ in counts else 0), at.timestamp(), message=note
        )
        for id_, task in by_id.items()
        if id_ not in counts or not counts[id_]["same"]
    ]  # fmt: skip
    with connection.cursor() as cursor:
        return [written[0] for written in write_events(cursor, rows)]


def _take_back(asked: _Asked) -> None:
    with transaction.atomic():
        Task.objects.filter(id__in=asked.requested, cancel_requested_at=asked.at).update(cancel_requested_at=None)
        TaskEvent.objects.filter(id__in=asked.notes).delete()


def _revoke(application: Application, celery_ids: Sequence[str], workers: Sequence[str], force: bool) -> dict[str, Any]:
    if not workers:
        raise StateConflictError(
            f"No worker of {application.name} is online. Celery's workers remember what is revoked, so there is nobody to tell."
        )
    arguments = {"task_id": list(celery_ids), "terminate": force, "signal": "SIGKILL"}
    return requests.ask(application.key_name, REVOKE, arguments, workers)


def _refusals(answers: Mapping[str, Any]) -> list[str]:
    refusals = [(name, str(answer["error"])) for name, answer in answers.items() if "error" in answer]
    more = [f"{len(refusals) - _NAMED:,} more refused."] if len(refusals) > _NAMED else []
    return [f"{name} refused: {storable_text(said)[:_SAID]}." for name, said in refusals[:_NAMED]] + more


def _silence(names: Sequence[str]) -> list[str]:
    return [f"{_some(names)} did not answer within {control.ANSWERED_WITHIN:g} s, and may not know of it."] if names else []


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
