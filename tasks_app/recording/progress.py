"""Store how far tasks are, as they tell; one row for each task that tells anything, with its newest report."""

from collections.abc import Mapping, Sequence
from typing import Final

from django.conf import settings
from django.db.backends.utils import CursorWrapper

from tasks_app.recording.arrays import column
from zenith_site.common.jsonsafe import storable, storable_text
from zenith_site.common.masking import mask, mask_text
from zenith_site.common.sql import statements
from zenith_worker.wire.events import Event
from zenith_worker.wire.progress import Progress

_KEEP: Final = statements(__file__)["keep_progress"]

#: A row for the statement, in its order.
_Row = tuple[object, ...]


def is_told_by_another(event: Event) -> bool:
    """Return whether another task, or a process outside of tasks, told how far the task is: that is no step of it."""
    return event.progress is not None and event.progress.get("by") is not None


def write_progress(cursor: CursorWrapper, events: Sequence[Event], applications: Mapping[str, int]) -> list[tuple[str, int]]:
    """Store what events tell of how far their tasks are, inside the open transaction.

    Return the tasks of which something is new, each with the key of its application.
    `applications` are the rows' keys of the applications that the events belong to. The tasks' rows are there.
    """
    rows = [_row(event, applications[event.application]) for event in events if event.progress is not None]
    if not rows:
        return []
    cursor.execute(_KEEP, [column(values) for values in zip(*rows, strict=True)])
    moved: list[tuple[str, int]] = cursor.fetchall()
    return moved


def _row(event: Event, application_id: int) -> _Row:
    told = Progress.of(event.progress or {})
    run = None if is_told_by_another(event) else event.position >> 8
    earlier_at, earlier_current = told.earlier or (None, None)
    state, meta = storable_text(told.state), told.meta
    if settings.ZENITH_MASK_STORED:
        state, meta = mask_text(state), mask(meta)
    return (
        event.task_id, application_id, run, event.at, told.current, told.total, state, None if meta is None else storable(meta),
        earlier_at, earlier_current, told.samples,
    )  # fmt: skip
