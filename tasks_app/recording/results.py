"""Store results in django-celery-results' `TaskResult`: once per task, a batch at a time."""

from collections.abc import Sequence
from typing import Final

from django.db.backends.utils import CursorWrapper

from tasks_app.models.task import result_id
from tasks_app.recording.arrays import column
from tasks_app.recording.reducer import TaskState
from zenith_site.common.sql import statements
from zenith_worker.wire.events import NO_META, Event
from zenith_worker.wire.states import Status

_SQL: Final = statements(__file__)
_INSERT: Final = _SQL["upsert_results"]

#: What `AsyncResult.get()` raises for a task that was revoked before a worker had it.
REVOKED_RESULT: Final = '{"exc_type": "TaskRevokedError", "exc_message": ["cancelled"], "exc_module": "celery.exceptions"}'


def write_results(cursor: CursorWrapper, ended: Sequence[tuple[TaskState, Event]]) -> None:
    """Store the results of tasks that this transaction saw end, except those that raised `Ignore`."""
    ended = [(state, event) for state, event in ended if state.status != Status.IGNORED]
    if not ended:
        return
    cursor.execute(
        _INSERT,
        [
            column(state.id for state, _ in ended),
            column(result_id(state.id, state.text_id) for state, _ in ended),
            column(state.name for state, _ in ended),
            column(event.result_status or state.status.value for state, event in ended),
            column(state.worker[:100] for state, _ in ended),
            column(event.result for _, event in ended),
            column(event.traceback for _, event in ended),
            column(event.meta or NO_META for _, event in ended),
            column(event.periodic_task_name[:255] or None for _, event in ended),
            column(state.created_at for state, _ in ended),
            column(state.started_at for state, _ in ended),
            column(state.finished_at for state, _ in ended),
        ],
    )
