"""The rows of new tasks, each with its first event."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper

from tasks_app.models import Application, Batch
from tasks_app.recording.events import EventRow, write_events
from tasks_app.recording.workflows import follows, note_workflows
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.states import Status, position


class NewTask(NamedTuple):
    """A task to insert; `args` and `kwargs` are JSON text. `text_id` is Celery's id, if the row's is derived from it."""

    id: UUID
    queue: str
    args: str
    kwargs: str
    priority: int | None
    max_retries: int | None
    not_before: datetime | None = None
    replay_of: UUID | None = None
    time_limit: int | None = None
    soft_time_limit: int | None = None
    expires_at: datetime | None = None
    extras: dict[str, Any] | None = None
    text_id: str = ""
    # The root of its workflow, if that is not that of the task whose body dispatches it.
    root: UUID | None = None

    @classmethod
    def of(cls, application: Application, **values: Any) -> Self:
        """Return a task of an application, with a new id."""
        id_ = new_id()
        if application.is_native:
            return cls(id=id_, **values)
        return cls(id=key_of(str(id_), application.key_name), text_id=str(id_), **values)

    @property
    def celery_id(self) -> UUID:
        """The task's id in Celery."""
        return UUID(self.text_id) if self.text_id else self.id


_COPY: Final = """
    COPY tasks_app_task (id, text_id, application_id, name, queue, status, position, args, kwargs, priority, max_retries,
        batch_id, source, worker, error_type, error_message, created_at, not_before, replay_of_id,
        time_limit, soft_time_limit, expires_at, parent_id, root_id) FROM STDIN
"""


class Sender(NamedTuple):
    """The task whose body dispatches, and the root of its workflow, as keys; None outside of a task."""

    parent: UUID | None = None
    root: UUID | None = None


def insert(cursor: CursorWrapper, batch: Batch, tasks: Sequence[NewTask], application_id: int, sender: Sender) -> int | None:
    """Insert a batch's tasks and their first events inside the open transaction; return the id of the newest event."""
    now = datetime.now(UTC)
    seconds = time.time()
    events = []
    # Django wraps only execute()'s errors: without this, a full disk would look like a bug and not like an unavailable database.
    with connection.wrap_database_errors, cursor.copy(_COPY) as copy:
        for task in tasks:
            is_scheduled = task.not_before is not None and task.not_before > now
            status = Status.SCHEDULED if is_scheduled else Status.PENDING
            first_position = position(0, 0, status)
            events.append(EventRow(task.id, status, first_position, seconds))
            copy.write_row((
                task.id, task.text_id, application_id, batch.task_name, task.queue, status.value, first_position, task.args,
                task.kwargs, task.priority, task.max_retries, batch.id, batch.source, "", "", "", batch.created_at,
                task.not_before, task.replay_of, task.time_limit, task.soft_time_limit, task.expires_at,
                sender.parent, task.root or sender.root,
            ))  # fmt: skip
    note_workflows(cursor, {str(id_): (application_id, batch.created_at.timestamp()) for id_ in _workflows(tasks, sender)})
    written = write_events(cursor, events)
    return max((row[0] for row in written), default=None)


def _workflows(tasks: Sequence[NewTask], sender: Sender) -> set[UUID]:
    """Return the workflows that are known to exist by these tasks: those of their roots, and of tasks that others follow."""
    roots = {root for task in tasks if (root := task.root or sender.root)}
    return roots | {task.id for task in tasks if task.extras and follows(task.extras.get("embed") or {})}
