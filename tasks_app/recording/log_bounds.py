"""Of what each task logs the newest lines stay, within ZENITH_TASK_LOG_LINES and a number of characters."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.backends.utils import CursorWrapper

from tasks_app.recording.arrays import column
from zenith_site.common.sql import statements

#: Characters of what a task logs that are kept, as they are stored, whatever the number of lines.
CHARS_KEPT: Final = 2 * 2**20

_SQL: Final = statements(__file__)
_FIND: Final = _SQL["find_long_task_logs"]
_LOCK: Final = _SQL["lock_task_logs"]
_NOTE: Final = _SQL["note_left_out"]


class StoredChunk(NamedTuple):
    """What is needed of a row to decide whether it stays; `run` tells its run from the task's others."""

    task_id: UUID
    id: int
    run: str
    lines: int
    chars: int
    left_out: int


class Cut(NamedTuple):
    """The rows to remove, and the row before which they were, with the number of lines of earlier runs that it stands for."""

    removed: list[int]
    oldest: int
    left_out: int


def keep_newest(cursor: CursorWrapper, tasks: Collection[tuple[UUID, int]]) -> None:
    """Remove the oldest rows of those of these tasks (key and application) that have too many lines."""
    bounds = {"lines": settings.ZENITH_TASK_LOG_LINES, "chars": CHARS_KEPT}
    keys, applications = (column(values) for values in zip(*sorted(tasks), strict=True))
    cursor.execute(_FIND, {"keys": keys, "applications": applications, **bounds})
    for task_id, application_id in cursor.fetchall():
        cursor.execute(_LOCK, [task_id, application_id])
        cut = cut_of([StoredChunk(*row) for row in cursor.fetchall()], **bounds)
        if cut is not None:
            cursor.execute("DELETE FROM tasks_app_tasklog WHERE id = ANY(%s)", [cut.removed])
            cursor.execute(_NOTE, [cut.left_out, cut.oldest])


def cut_of(chunks: Sequence[StoredChunk], *, lines: int, chars: int) -> Cut | None:
    """Return what to remove of a task's rows (oldest first) so that the bounds are kept, or None. The newest always stays."""
    kept = 0
    for chunk in reversed(chunks):
        lines -= chunk.lines
        chars -= chunk.chars
        if kept and (lines < 0 or chars < 0):
            break
        kept += 1
    removed, oldest = chunks[: len(chunks) - kept], chunks[len(chunks) - kept]
    if not removed:
        return None
    return Cut([chunk.id for chunk in removed], oldest.id, oldest.left_out + _of_other_runs(removed, oldest.run))


def _of_other_runs(removed: Iterable[StoredChunk], run: str) -> int:
    """Return how many lines these rows stand for that are not of this run: those of it follow from the lines' numbers."""
    return sum(chunk.left_out + (chunk.lines if chunk.run != run else 0) for chunk in removed)
