"""How things stand: what the Overview's counters show, from a few small queries."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection
from django.db.models import Count, Sum
from django.utils import timezone

from tasks_app.models import MinuteRollup, Task
from tasks_app.states import OPEN, Status
from tasks_app.tracking.heartbeat import WorkerBeat
from tasks_app.tracking.rollup import BUCKETS, percentile

WINDOW: Final = timedelta(hours=1)
WINDOW_NAME: Final = "hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tasks by what they wait for, and what came of those that ended within the window."""

    running: int
    queued: int
    scheduled: int
    retrying: int
    failed: int
    succeeded: int
    slots: int
    oldest_queued_seconds: float | None
    success_rate: float | None
    throughput: float
    p50_seconds: float | None
    p95_seconds: float | None


def counts(workers: list[WorkerBeat]) -> Counts:
    """Count in three queries, none of which looks at finished tasks."""
    now = timezone.now()
    by_status: dict[str, int] = dict(Task.objects.filter(status__in=OPEN).order_by().values_list("status").annotate(Count("id")))
    ended = _ended(now)
    finished = ended.succeeded + ended.failed
    return Counts(
        running=by_status.get(Status.STARTED, 0),
        queued=sum(by_status.get(item, 0) for item in (Status.PENDING, Status.QUEUED, Status.RECEIVED)),
        scheduled=by_status.get(Status.SCHEDULED, 0),
        retrying=by_status.get(Status.RETRY, 0),
        failed=ended.failed,
        succeeded=ended.succeeded,
        slots=sum(worker.slots for worker in workers if worker.online),
        oldest_queued_seconds=_oldest_queued(now) if by_status.get(Status.QUEUED) else None,
        success_rate=100 * ended.succeeded / finished if finished else None,
        throughput=finished / (WINDOW / timedelta(minutes=1)),
        p50_seconds=percentile(ended.histogram, 0.50),
        p95_seconds=percentile(ended.histogram, 0.95),
    )


#: Rows are counted up to this where somebody asks every few seconds.
COUNTED: Final = 100_000
_OPEN: Final = """
    SELECT wanted.status, (SELECT count(*) FROM (
        SELECT FROM tasks_app_task WHERE status = wanted.status LIMIT %s) AS counted)
    FROM unnest(%s::text[]) AS wanted (status)
"""
_LETTERS: Final = "SELECT count(*) FROM (SELECT FROM tasks_app_deadletter WHERE state = 'OPEN' LIMIT %s) AS counted"


def open_tasks() -> dict[str, int]:
    """Return how many tasks are in each status that is not the end, up to COUNTED each. One query, along an index."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, [COUNTED, sorted(OPEN)])
        return dict(cursor.fetchall())


def open_letters() -> int:
    """Return how many dead letters wait for a decision, up to COUNTED. One query, along an index."""
    with connection.cursor() as cursor:
        cursor.execute(_LETTERS, [COUNTED])
        return int(cursor.fetchone()[0])


@dataclass(frozen=True, slots=True)
class _Ended:
    succeeded: int
    failed: int
    histogram: list[int]


def _ended(now: datetime) -> _Ended:
    rows = MinuteRollup.objects.filter(minute__gt=now - WINDOW - timedelta(minutes=1))
    sums = rows.order_by().aggregate(
        Sum("succeeded", default=0),
        Sum("failed", default=0),
        **{f"b{index}": Sum(f"runtime_histogram__{index}", default=0) for index in range(BUCKETS)},
    )
    histogram = [sums[f"b{index}"] for index in range(BUCKETS)]
    return _Ended(sums["succeeded__sum"], sums["failed__sum"], histogram)


def _oldest_queued(now: datetime) -> float | None:
    queued_at = Task.objects.filter(status=Status.QUEUED).order_by("id").values_list("queued_at", flat=True).first()
    return max(0.0, (now - queued_at).total_seconds()) if queued_at else None
