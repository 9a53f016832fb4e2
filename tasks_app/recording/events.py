"""Write task events with ids in the order of the commits.

PostgreSQL assigns sequence numbers before the commit. Of two concurrent transactions, the one with the higher number may
commit first, and a reader that resumes "after N" would then miss the other's events forever. So every writer of events takes a
transaction-scoped advisory lock before its first number and holds it until its commit. Writers do this last, so the lock is
held for milliseconds.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from django.db.backends.utils import CursorWrapper

from tasks_app.recording.arrays import column
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.sql import statements
from zenith_worker.wire.states import Status


class EventRow(NamedTuple):
    """An event to insert. `at` is Unix time in seconds."""

    task_id: UUID | str
    status: Status
    position: int
    at: float
    worker: str = ""
    message: str = ""


_SQL: Final = statements(__file__)
_INSERT: Final = _SQL["insert_events"]

_CORRECT: Final = _SQL["correct_events"]


def write_events(cursor: CursorWrapper, rows: Sequence[EventRow]) -> list[tuple[int, str, int]]:
    """Insert events inside the open transaction; return (id, task id, position) of the new ones.

    An event that is already recorded is left unchanged; see `correct_events`.
    """
    if not rows:
        return []
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.EVENT_ORDER])
    cursor.execute(
        _INSERT,
        [
            column(row.task_id for row in rows),
            column(row.status for row in rows),
            column(row.position for row in rows),
            column(row.at for row in rows),
            column(row.worker for row in rows),
            column(row.message for row in rows),
        ],
    )
    written: list[tuple[int, str, int]] = cursor.fetchall()
    return written


def correct_events(cursor: CursorWrapper, rows: Sequence[EventRow]) -> None:
    """Correct the time and worker of recorded events that a second copy of the message reported, inside the open transaction."""
    if rows:
        cursor.execute(
            _CORRECT,
            [
                column(row.task_id for row in rows),
                column(row.position for row in rows),
                column(row.at for row in rows),
                column(row.worker for row in rows),
            ],
        )
