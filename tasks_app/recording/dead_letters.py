"""Write a dead letter for each failed task, in the transaction that records its end."""

from collections.abc import Sequence
from typing import Final

from django.db.backends.utils import CursorWrapper

from tasks_app.fingerprint import fingerprint, normalise, own_frame
from tasks_app.recording.reducer import TaskState
from zenith_site.common.masking import mask_text
from zenith_site.common.sql import statements
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

_SQL: Final = statements(__file__)
_INSERT: Final = _SQL["insert_dead_letters"]


def write_dead_letters(cursor: CursorWrapper, ended: Sequence[tuple[TaskState, Event]]) -> None:
    """Insert a letter for each task among `ended` that ended in FAILURE, inside the open transaction."""
    rows = [_row(state, event) for state, event in ended if state.status == Status.FAILURE]
    if rows:
        cursor.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)])


def _row(state: TaskState, event: Event) -> tuple[str | int, ...]:
    # The fingerprint is public: if it were made from unmasked text, guesses could be tested against it.
    message = normalise(mask_text(state.error_message))
    frame = own_frame(event.traceback or "")
    application = "" if state.is_native else str(state.application_id)
    key = fingerprint(state.name, state.error_type, message, frame, application)
    return state.id, state.application_id, key, state.name, state.queue, state.error_type, message, frame
