"""Count what ended on each worker, minute by minute, for the workers' pages."""

import time
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from django.db.backends.utils import CursorWrapper

from tasks_app.recording.arrays import column
from tasks_app.recording.reducer import TaskState
from tasks_app.recording.rollups import is_credible
from zenith_site.common.sql import statements
from zenith_worker.wire.states import Status

#: Seconds for which these minutes are kept (maintenance/retention.py); what ended earlier is not counted.
KEPT: Final = 86_400.0
#: Workers of an application that a recorder tells apart in an hour. Their names are a stranger's, and each makes a row.
MAX_WORKERS: Final = 1_000

#: A minute (Unix time), an application, and a worker's name.
Key = tuple[int, int, str]

_ADD: Final = statements(__file__)["add_to_worker_minutes"]
_COUNTED: Final = (Status.SUCCESS, Status.FAILURE)
#: By hour and application.
_known: Final[dict[tuple[int, int], set[str]]] = {}


def write_worker_minutes(cursor: CursorWrapper, ended: Iterable[TaskState]) -> None:
    """Count tasks that succeeded or failed, inside the open transaction. One statement, if there is anything to count."""
    counts: dict[Key, list[int]] = {}
    now = time.time()
    for state in ended:
        at = state.finished_at or 0.0
        is_counted = state.status in _COUNTED and at > now - KEPT and is_credible(state, at, now)
        if is_counted and _is_told_apart(state, now):
            key = int(at // 60) * 60, state.application_id, state.worker
            counts.setdefault(key, [0, 0])[state.status == Status.FAILURE] += 1
    if counts:
        # Always in the same order, so that two recorders never deadlock, nor one with a sample.
        rows = [(*key, *both) for key, both in sorted(counts.items(), key=itemgetter(0))]
        cursor.execute(_ADD, [column(values) for values in zip(*rows, strict=True)])


def _is_told_apart(state: TaskState, now: float) -> bool:
    """Return whether a task's worker is known, and one of those that are counted."""
    if not state.worker or state.is_native:
        return bool(state.worker)
    hour = int(now // 3600)
    for old in [key for key in _known if key[0] != hour]:
        _known.pop(old, None)
    known = _known.setdefault((hour, state.application_id), set())
    if state.worker not in known and len(known) >= MAX_WORKERS:
        return False
    known.add(state.worker)
    return True
