"""The Overview's counters, from a few small queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection
from django.utils import timezone

from zenith_site.common.sql import statements
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import OPEN, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Open tasks by status, open dead letters (`dead_lately`: those of the last hour), and slots of Zenith's own workers."""

    running: int
    queued: int
    scheduled: int
    retrying: int
    dead: int
    dead_kinds: int
    dead_lately: int
    slots: int
    busy: int
    oldest_queued_seconds: float | None
    due_at: datetime | None


#: Rows are counted up to this, since pages ask every few seconds.
COUNTED: Final = 100_000
_SQL: Final = statements(__file__)
_BY_STATUS: Final = _SQL["count_by_status"]
_OVERVIEW: Final = _SQL["overview_counts"].format(count_by_status=_BY_STATUS)
_LETTERS: Final = "SELECT count(*) FROM (SELECT FROM tasks_app_deadletter WHERE state = 'OPEN' LIMIT %s) AS counted"


def counts(workers: list[WorkerBeat]) -> Counts:
    """Return the counts, in one query that does not read finished tasks."""
    with connection.cursor() as cursor:
        cursor.execute(_OVERVIEW, {"most": COUNTED, "statuses": sorted(OPEN)})
        by_status, queued_at, due_at, dead, dead_kinds, dead_lately = cursor.fetchone()
    return Counts(
        running=by_status[Status.STARTED],
        queued=sum(by_status[item] for item in (Status.PENDING, Status.QUEUED, Status.RECEIVED)),
        scheduled=by_status[Status.SCHEDULED],
        retrying=by_status[Status.RETRY],
        dead=dead,
        dead_kinds=dead_kinds,
        dead_lately=dead_lately,
        slots=sum(worker.slots for worker in workers if worker.online),
        busy=sum(worker.busy for worker in workers if worker.online),
        oldest_queued_seconds=max(0.0, (timezone.now() - queued_at).total_seconds()) if queued_at else None,
        due_at=due_at,
    )


def open_tasks() -> dict[str, int]:
    """Return how many tasks are in each open status, up to COUNTED each. One query, along an index."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_STATUS, {"most": COUNTED, "statuses": sorted(OPEN)})
        return dict(cursor.fetchall())


def open_letters() -> int:
    """Return how many dead letters wait for a decision, up to COUNTED. One query, along an index."""
    with connection.cursor() as cursor:
        cursor.execute(_LETTERS, [COUNTED])
        return int(cursor.fetchone()[0])
