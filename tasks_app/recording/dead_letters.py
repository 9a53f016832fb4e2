"""Writing a dead letter for each task that gave up, in the transaction that records its end."""

from collections.abc import Sequence
from typing import Final

from django.db.backends.utils import CursorWrapper

from tasks_app.fingerprint import fingerprint, normalise, own_frame
from tasks_app.recording.reducer import TaskState
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Event

# A task ends once, and its row is locked by whoever saw it end. The conflict is with a letter that
# something else than this transaction wrote for the same end.
_INSERT: Final = """
    INSERT INTO tasks_app_deadletter (task_id, fingerprint, task_name, queue, error_type, message,
        frame, created_at, state, resolved_by, note)
    SELECT task_id, fingerprint, task_name, queue, error_type, message, frame, now(), 'OPEN', '', ''
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
        WITH ORDINALITY AS row (task_id, fingerprint, task_name, queue, error_type, message, frame, number)
    ORDER BY number
    ON CONFLICT (task_id) DO NOTHING
"""


def write_dead_letters(cursor: CursorWrapper, ended: Sequence[tuple[TaskState, Event]]) -> None:
    """Insert a letter for each task among `ended` that ended in FAILURE, inside the open transaction."""
    rows = [_row(state, event) for state, event in ended if state.status == Status.FAILURE]
    if rows:
        cursor.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)])


def _row(state: TaskState, event: Event) -> tuple[str, ...]:
    message = normalise(state.error_message)
    frame = own_frame(event.traceback or "")
    key = fingerprint(state.name, state.error_type, message, frame)
    return state.id, key, state.name, state.queue, state.error_type, message, frame
