"""How fast the queues of an application move, over the last whole minutes, and their history: from rollups and samples."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connection

from tasks_app.analytics.window import TimeWindow
from tasks_app.maintenance.compaction import utc_datetime
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.sql import statements

RATE_MINUTES: Final = 5

_SQL: Final = statements(__file__)
_HISTORY: Final = _SQL["queue_history"]
_RATES: Final = _SQL["queue_rates"]


class QueueRates(NamedTuple):
    """Messages per minute; None is not known.

    Attributes:
        served: attempts that ended.
        growth: of the depth between the samples at both ends; negative if it shrinks.
    """

    served: float | None
    growth: float | None

    @property
    def arriving(self) -> float | None:
        """What is sent to the queue."""
        return None if self.served is None or self.growth is None else max(0.0, self.served + self.growth)

    def seconds_to_drain(self, depth: int | None) -> float | None:
        """Return the seconds until the queue is empty at these rates; None if that is never, or unknown."""
        if depth is None:
            return None
        if not depth:
            return 0.0
        arriving = self.arriving
        if arriving is None or self.served is None or self.served <= arriving:
            return None
        return 60 * depth / (self.served - arriving)


UNKNOWN_RATES: Final = QueueRates(None, None)


def rates_of(names: Sequence[str], application: int = NATIVE_ID) -> dict[str, QueueRates]:
    """Return the rates of these queues of an application. One query.

    If the queue of some of another application's tasks is not known, it may have been any of them.
    """
    last = int(time.time() // 60 - 1) * 60
    first = last - RATE_MINUTES * 60
    values: dict[str, Any] = {"names": list(names), "application": application, "first": first, "last": last}
    ended_in: dict[str, int] = {}
    depths: dict[tuple[str, int], int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_RATES, values)
        for queue, at, number in cursor.fetchall():
            if at is None:
                ended_in[queue] = number
            else:
                depths[queue, at] = number
    is_known = application == NATIVE_ID or not ended_in.get("")
    rates = {}
    for name in names:
        start, end = depths.get((name, first)), depths.get((name, last))
        growth = None if start is None or end is None else (end - start) / RATE_MINUTES
        rates[name] = QueueRates(ended_in.get(name, 0) / RATE_MINUTES if is_known else None, growth)
    return rates


@dataclass(frozen=True, slots=True)
class DepthPoint:
    """One step of a queue's history; None if there is no sample. Depth and age are the highest that were sampled."""

    at: datetime
    depth: int | None
    unacknowledged: int | None
    oldest_seconds: float | None


def history(name: str, span: TimeWindow, application: int = NATIVE_ID) -> list[DepthPoint]:
    """Return the length of an application's queue, step by step, from the samples. One query.

    How many messages workers hold is not known of other applications.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _HISTORY,
            {"step": span.step, "queue": name, "application": application, "since": span.since, "until": span.until},
        )
        samples = {row[0]: row[1:] for row in cursor.fetchall()}
    points = [DepthPoint(utc_datetime(start), *samples.get(start, (None, None, None))) for start in span.starts()]
    return points if application == NATIVE_ID else [replace(point, unacknowledged=None) for point in points]
