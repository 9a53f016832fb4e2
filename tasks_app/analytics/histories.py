"""The last hours of queues and workers, step by step, for their sparklines: from rollups, samples and workers' minutes.

A value is None if nothing was told or sampled in a step: it is unknown, and not zero.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db import connection

from tasks_app.analytics.window import HOUR, TimeWindow
from tasks_app.maintenance.compaction import FIVE_MINUTES, MINUTE
from tasks_app.models import Application
from zenith_site.common.sql import statements

#: Seconds of a step, and of one on the page of a worker.
COARSE: Final = FIVE_MINUTES
FINE: Final = MINUTE

Known = int | None

_SQL: Final = statements(__file__)
_QUEUES: Final = _SQL["hours_of_queues"]
_WORKERS: Final = _SQL["hour_of_workers"]
#: A step of which nothing is known.
_NOTHING: Final[tuple[Known, Known, Known]] = (None, None, None)


@dataclass(frozen=True, slots=True)
class QueueHistory:
    """A queue's last hours, oldest first: the most messages that waited, the tasks that finished, and those of them that failed.

    `is_partial`: the queue of other tasks that finished is not known, so these may be of this one.
    """

    depth: list[Known]
    finished: list[int]
    failed: list[int]
    is_partial: bool = False

    @property
    def last_hour(self) -> "QueueHistory":
        """The newest hour of it."""
        steps = HOUR // COARSE
        return replace(self, depth=self.depth[-steps:], finished=self.finished[-steps:], failed=self.failed[-steps:])


@dataclass(frozen=True, slots=True)
class WorkerHistory:
    """A worker's last hour, oldest first: the tasks that finished on it, those of them that failed, and its largest memory."""

    finished: list[Known]
    failed: list[Known]
    memory: list[Known]


def newest_steps(number: int, step: int) -> TimeWindow:
    """Return the newest steps of so many seconds; the last is not over yet."""
    now = int(time.time())
    return TimeWindow(now // step * step - (number - 1) * step, now // MINUTE * MINUTE + MINUTE, step)


def of_queues(names: Sequence[str], application: Application, hours: int = 1) -> dict[str, QueueHistory]:
    """Return the last hours of these queues of an application in steps of COARSE. One query, or none without names."""
    if not names:
        return {}
    span = newest_steps(hours * HOUR // COARSE, COARSE)
    values: dict[str, Any] = {
        "names": list(names), "asked_for": [*names, *([] if application.is_native else [""])], "application": application.pk,
        "since": span.since, "step": COARSE,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_QUEUES, values)
        found = {(queue, start): figures for queue, start, *figures in cursor.fetchall()}
    is_partial = any(found.get(("", start), _NOTHING)[1] for start in span.starts())
    return {name: _queue_history([found.get((name, start), _NOTHING) for start in span.starts()], is_partial) for name in names}


def _queue_history(steps: Sequence[Sequence[Known]], is_partial: bool) -> QueueHistory:
    return QueueHistory([row[0] for row in steps], [row[1] or 0 for row in steps], [row[2] or 0 for row in steps], is_partial)


def of_workers(workers: Iterable[tuple[str, str]], step: int = COARSE) -> dict[tuple[str, str], WorkerHistory]:
    """Return the last hour of workers, each the names of an application and of a worker. One query, or none without workers."""
    wanted = list(dict.fromkeys(workers))
    if not wanted:
        return {}
    span = newest_steps(HOUR // step, step)
    applications, names = map(list, zip(*wanted, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(_WORKERS, {"applications": applications, "names": names, "since": span.since, "step": span.step})
        steps = {(application, name, start): values for application, name, start, *values in cursor.fetchall()}
    return {
        (application, name): _worker_history([steps.get((application, name, start), _NOTHING) for start in span.starts()])
        for application, name in wanted
    }


def _worker_history(steps: Sequence[Sequence[Known]]) -> WorkerHistory:
    return WorkerHistory([row[0] for row in steps], [row[1] for row in steps], [row[2] for row in steps])
