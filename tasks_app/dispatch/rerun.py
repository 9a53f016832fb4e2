"""Run one task again, as a new task that points back at it."""

import json
from uuid import UUID

from django.db import transaction

from tasks_app import catalog
from tasks_app.dispatch.applications import default_queue, of_task, refuse_watched
from tasks_app.dispatch.create import Origin, inherited, new_batch, write_tasks
from tasks_app.dispatch.replay import Replay, replay_letters
from tasks_app.dispatch.rows import NewTask
from tasks_app.models import Application, DeadLetter, Task, TaskMessage
from tasks_app.models.application import of_visible
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.recording.workflows import roots_of_replays
from zenith_site.common.errors import StateConflictError
from zenith_worker.wire.queue_names import why_reserved


def run_again(task_id: UUID, origin: Origin, *, forced: bool = False) -> UUID | None:
    """Send a task that has ended once more, with the same arguments; return the new task's id, or None for an unknown task.

    If the task has a dead letter, that is replayed. Two callers at once create one new task. Raises StateConflictError if the
    task has not ended or, unless `forced`, was already run again or its dead letter discarded.
    """
    with transaction.atomic():
        # A concurrent replay holds the dead letter and inserts a reference to this row; `no_key` keeps it from waiting for us.
        task = Task.objects.select_for_update(no_key=True, of=("self",)).filter(of_visible(origin.visible), id=task_id).first()
        if task is None:
            return None
        if not task.is_finished:
            raise StateConflictError(f"The task is {task.status}: only a task that has ended can be run again. Cancel it first.")
        if not task.name:
            raise StateConflictError(
                "Another program sent this task and Zenith never saw its message, so there is nothing to run again."
            )
        application = of_task(task)
        refuse_watched(application)
        if application.is_native:
            _refuse_native(task)
        if TaskMessage.objects.filter(task=task, extras__opaque=True).exists():
            raise StateConflictError("Its arguments are not JSON, so its message cannot be rebuilt.")
        letters = DeadLetter.objects.filter(task=task)
        letter = letters.first()
        if letter is not None and (forced or letter.state == LetterState.OPEN):
            return replay_letters(letters, Replay(selection=Selection(task_ids=[task.id])), origin)[0].new
        if not forced and (letter is not None or Task.objects.filter(replay_of=task).exists()):
            raise StateConflictError("It was already run again or discarded; use `forced` to run it anyway.")
        return _copy(task, application, origin)


def _refuse_native(task: Task) -> None:
    """Raise StateConflictError if Zenith's own workers must not run the task again."""
    catalog.refuse_drill(task.name)
    if task.queue and (reason := why_reserved(task.queue)):
        raise StateConflictError(reason)


def _queue_of(task: Task, application: Application) -> str:
    if task.queue or not application.is_native:
        return task.queue
    return default_queue(catalog.known_entry(task.name, application.pk), application)


def _copy(task: Task, application: Application, origin: Origin) -> UUID:
    new = NewTask.of(
        application, queue=_queue_of(task, application),
        args=json.dumps(task.args), kwargs=json.dumps(task.kwargs), priority=task.priority, max_retries=task.max_retries,
        # Without `expires_at`: whoever runs the task again wants it to run now.
        replay_of=task.id, time_limit=task.time_limit, soft_time_limit=task.soft_time_limit,
        extras=inherited([task.id]).get(task.id), root=roots_of_replays([task]).get(task.id),
    )  # fmt: skip
    write_tasks(new_batch(task.name, 1, origin, application), [new], application)
    return new.id
