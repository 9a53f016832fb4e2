"""The last hour of queues and workers, step by step, for their sparklines: from rollups, samples and workers' minutes.

A value is None if nothing was told or sampled in a step: it is unknown, and not zero.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.db import connection

from tasks_app.analytics import rollups
from tasks_app.analytics.rollups import RollupFilter, Totals
from tasks_app.analytics.window import HOUR, TimeWindow
from tasks_app.maintenance.compaction import MINUTE
from tasks_app.models import Application
from zenith_site.common.sql import statements

#: Seconds of a step: in lists, and on the page of one queue or worker.
COARSE: Final = 300
FINE: Final = MINUTE

Known = int | None

_SQL: Final = statements(__file__)
_DEPTHS: Final = _SQL["depths_of_queues"]
_WORKERS: Final = _SQL["minutes_of_workers"]


@dataclass(frozen=True, slots=True)
class QueueHistory:
    """A queue's last hour, oldest first: the most messages that waited, the tasks that finished, and those of them that failed.

    `is_partial`: the queue of other tasks that finished is not known, so these may be of this one.
    """

    depth: list[Known]
    finished: list[int]
    failed: list[int]
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class WorkerHistory:
    """A worker's last hour, oldest first: the tasks that finished on it, those of them that failed, and its largest memory."""

    finished: list[Known]
    failed: list[Known]
    memory: list[Known]


def last_hour(step: int) -> TimeWindow:
    """Return the last hour in steps of so many seconds; the newest step is not over yet."""
    now = int(time.time())
    return TimeWindow(now // step * step - HOUR + step, now // MINUTE * MINUTE + MINUTE, step)


def of_queues(names: Sequence[str], application: Application, step: int = COARSE) -> dict[str, QueueHistory]:
    """Return the last hour of these queues of an application. Three queries, or none without names."""
    if not names:
        return {}
    span = last_hour(step)
    asked_for = names if application.is_native else [*names, ""]
    totals = rollups.by_name_and_step(span, RollupFilter(application=application.name), "queue", asked_for, histograms=False)
    depths = _depths(names, application, span)
    none, starts = Totals(), span.starts()
    is_partial = any(totals.get(("", start), none).finished for start in starts)
    return {
        name: QueueHistory(
            [depths.get((name, start)) for start in starts],
            [totals.get((name, start), none).finished for start in starts],
            [totals.get((name, start), none).failed for start in starts],
            is_partial,
        )
        for name in names
    }


def _depths(names: Sequence[str], application: Application, span: TimeWindow) -> dict[tuple[str, int], int]:
    with connection.cursor() as cursor:
        cursor.execute(_DEPTHS, {"names": list(names), "application": application.pk, "since": span.since, "step": span.step})
        return {(queue, start): depth for queue, start, depth in cursor.fetchall()}


def of_workers(workers: Iterable[tuple[str, str]], step: int = COARSE) -> dict[tuple[str, str], WorkerHistory]:
    """Return the last hour of workers, each the names of an application and of a worker. One query, or none without workers."""
    wanted = list(dict.fromkeys(workers))
    if not wanted:
        return {}
    span = last_hour(step)
    applications, names = map(list, zip(*wanted, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(_WORKERS, {"applications": applications, "names": names, "since": span.since, "step": span.step})
        steps = {(application, name, start): values for application, name, start, *values in cursor.fetchall()}
    return {
        (application, name): _worker_history([steps.get((application, name, start)) for start in span.starts()])
        for application, name in wanted
    }


def _worker_history(steps: Iterable[Sequence[int | None] | None]) -> WorkerHistory:
    rows = [step or (None, None, None) for step in steps]
    return WorkerHistory([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
