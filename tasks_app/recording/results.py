"""Storing outcomes in django-celery-results' `TaskResult`: once per task, a batch at a time."""

from collections.abc import Sequence
from typing import Final

from django.db.backends.utils import CursorWrapper

from tasks_app.recording.arrays import column
from tasks_app.recording.reducer import TaskState
from zenith_worker.wire.stream import NO_META, Event

# DO UPDATE, not DO NOTHING: a row may exist already where the task's code called
# `update_state()`. The task's own row is locked, so nobody else writes the same outcome.
_INSERT: Final = """
    INSERT INTO django_celery_results_taskresult
        (task_id, task_name, status, worker, content_type, content_encoding, result, traceback,
         meta, date_created, date_started, date_done)
    SELECT task_id, task_name, status, worker, 'application/json', 'utf-8', result, traceback,
        meta, to_timestamp(created), to_timestamp(started), to_timestamp(done)
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
        %s::text[], %s::float8[], %s::float8[], %s::float8[])
        AS row (task_id, task_name, status, worker, result, traceback, meta, created, started, done)
    ON CONFLICT (task_id) DO UPDATE SET
        task_name = excluded.task_name, status = excluded.status, worker = excluded.worker,
        result = excluded.result, traceback = excluded.traceback, meta = excluded.meta,
        date_started = excluded.date_started, date_done = excluded.date_done
"""

#: What `AsyncResult.get()` raises for a task that no worker ever revoked itself.
REVOKED_RESULT: Final = '{"exc_type": "TaskRevokedError", "exc_message": ["cancelled"], "exc_module": "celery.exceptions"}'


def write_results(cursor: CursorWrapper, ended: Sequence[tuple[TaskState, Event]]) -> None:
    """Store the outcomes of tasks that this transaction saw end."""
    if not ended:
        return
    cursor.execute(
        _INSERT,
        [
            column(state.id for state, _ in ended),
            column(state.name for state, _ in ended),
            column(state.status.value for state, _ in ended),
            column(state.worker[:100] for state, _ in ended),
            column(event.result for _, event in ended),
            column(event.traceback for _, event in ended),
            column(event.meta or NO_META for _, event in ended),
            column(state.created_at for state, _ in ended),
            column(state.started_at for state, _ in ended),
            column(state.finished_at for state, _ in ended),
        ],
    )
