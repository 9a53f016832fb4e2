"""Change a scheduled task that has not been sent yet."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import redis
from django.db import connection, transaction
from django.utils import timezone

from tasks_app import catalog
from tasks_app.dispatch.applications import of_task
from tasks_app.dispatch.create import queue_problems
from tasks_app.models import Application, Task, TaskEvent, TaskMessage
from tasks_app.recording import live
from tasks_app.recording.events import EventRow, write_events
from zenith_site.common import jsonsafe
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_site.common.faults import is_unreachable
from zenith_site.common.masking import mask_problems
from zenith_worker.wire import commands
from zenith_worker.wire.states import Status, note_position


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The new values; None leaves a value unchanged. A `not_before` in the past makes the task due at once.

    An empty `queue` leaves it to the routes of the task's application, if that is not Zenith's own.
    """

    not_before: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None

    def new_values(self) -> dict[str, Any]:
        """Return the new values by the task's columns."""
        names = ("not_before", "queue", "priority", "args", "kwargs")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def edit(task_id: UUID, changes: Changes, *, by: str = "") -> Task | None:
    """Change a SCHEDULED task; return it, or None if it is not scheduled (any more).

    A relay that is sending the task holds its row's lock; then this waits and finds the task sent. Each change leaves a note
    on the task's timeline. Raises InvalidInputError naming every problem, or redis.RedisError if it must be asked about another
    application's task and does not answer; then nothing was changed.
    """
    with transaction.atomic():
        task = Task.objects.select_for_update().filter(id=task_id, status=Status.SCHEDULED, cancel_requested_at=None).first()
        if task is None:
            return None
        application = of_task(task)
        if not application.is_native and _was_handed_over(task, application):
            return None
        if problems := list(_problems(task, application, changes)):
            raise InvalidInputError(*problems)
        changed = {name: value for name, value in changes.new_values().items() if getattr(task, name) != value}
        if changed:
            newest = _note(task, _sentence(task, changed, by))
            for name, value in changed.items():
                setattr(task, name, value)
            task.save(update_fields=[*changed])
            if "queue" in changed and not application.is_native:
                _ask_for(task, changed["queue"])
            transaction.on_commit(lambda: live.poke(newest))
    return task


def reschedule(task_id: UUID, not_before: datetime, *, by: str = "") -> bool:
    """Move a SCHEDULED task to another time; return False if it is not scheduled (any more)."""
    return edit(task_id, Changes(not_before=not_before), by=by) is not None


def _was_handed_over(task: Task, application: Application) -> bool:
    """Whether a relay handed another application's task over and died before it noted that: only Redis knows.

    Raises redis.RedisError if it is unreachable.
    """
    if task.not_before is None or task.not_before > timezone.now():
        return False
    try:
        return bool(commands.handed_over(application.key_name, [task.celery_id]))
    except redis.ResponseError as error:
        if is_unreachable(error):
            raise
        # The application has broken its keys, and nothing can be handed over until it mends them.
        return False


def _ask_for(task: Task, queue: str) -> None:
    """Have a task of another application sent to this queue, or if it is empty, wherever its routes send it."""
    message = TaskMessage.objects.filter(task=task).first() or TaskMessage(task=task, extras={"headers": {}, "embed": {}})
    message.extras["queue"] = queue
    message.save()


def _note(task: Task, text: str) -> int | None:
    """Write a note to the timeline. The caller's lock on the row makes its number unique for this task."""
    notes = TaskEvent.objects.filter(task=task, position__lt=0).count()
    with connection.cursor() as cursor:
        row = EventRow(task.id, Status.SCHEDULED, note_position(notes), time.time(), message=text)
        return max((written[0] for written in write_events(cursor, [row])), default=None)


def _sentence(task: Task, changed: dict[str, Any], by: str) -> str:
    parts = []
    if "not_before" in changed:
        parts.append(f"rescheduled from {_format(task.not_before)} to {_format(changed['not_before'])}")
    parts += [
        f"{name} changed from {_format(getattr(task, name))} to {_format(changed[name])}"
        for name in ("queue", "priority")
        if name in changed
    ]
    parts += [f"{name} changed" for name in ("args", "kwargs") if name in changed]
    return "; ".join(parts) + (f" by {by}" if by else "")


def _format(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    return "none" if value is None else json.dumps(value)


def _problems(task: Task, application: Application, changes: Changes) -> Iterator[Problem]:
    left_to_routes = changes.queue == "" and not application.is_native
    yield from queue_problems(None if left_to_routes else changes.queue, changes.priority, application)
    if changes.not_before is not None and changes.not_before.tzinfo is None:
        yield Problem("/not_before", "needs a time zone, such as a final Z")
    elif changes.not_before and task.expires_at and changes.not_before >= task.expires_at:
        yield Problem("/not_before", f"must be before the task expires, at {_format(task.expires_at)}")
    args = task.args if changes.args is None else changes.args
    kwargs = task.kwargs if changes.kwargs is None else changes.kwargs
    unstorable = [*jsonsafe.problems(args, "/args"), *jsonsafe.problems(kwargs, "/kwargs")]
    yield from unstorable
    yield from mask_problems(changes.args, "/args")
    yield from mask_problems(changes.kwargs, "/kwargs")
    if not unstorable and (changes.args is not None or changes.kwargs is not None):
        entry = catalog.known_entry(task.name, task.application_id)
        yield from entry.problems(args, kwargs) if entry is not None else ()
