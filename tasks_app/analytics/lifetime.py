"""Totals of all time, by task and queue of Zenith's own application, and by application: counters that only increase, whatever
retention removes.

1. They sum up days, quarters and minutes (rollups.py). Retention removes minutes and quarters only once their day is summed
   up, and days are kept forever, so removing rows does not change the sums.
2. Years of days are not added up for every scrape: totals older than about two hours are cached (`settled`) and added up again
   every few minutes, since late reports still change them. Both parts only increase, and so does their sum.
3. The number of pairs of task and queue is limited: the first ones are told apart. A later pair counts as "(other)" and never
   leaves it, so that counter only increases as well.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from tasks_app.analytics import rollups
from tasks_app.analytics.rollups import RollupFilter, Totals
from tasks_app.analytics.window import TimeWindow
from tasks_app.maintenance.compaction import DAY, watermarks
from zenith_worker.wire.applications import NATIVE_NAME

Pair = tuple[str, str]

OTHER: Final = ("(other)", "(other)")
#: Tasks of other applications may have the same names, and the metrics' labels do not tell applications apart.
_OWN: Final = RollupFilter(application=NATIVE_NAME)
#: Seconds after which the settled part is added up again.
SETTLED_FOR: Final = 300.0


@dataclass(frozen=True, slots=True)
class _Settled:
    """The totals before a time (`until`, in Unix time), and when they were added up (`at`)."""

    until: int = 0
    totals: dict[Pair, Totals] = field(default_factory=dict)
    days: dict[Pair, int] = field(default_factory=dict)
    at: float = float("-inf")


class Lifetime:
    """The counters of one process; thread-safe."""

    def __init__(self) -> None:
        self._settled = _Settled()
        self._lock = threading.Lock()

    def totals(self, most: int) -> dict[Pair, Totals]:
        """Return the totals by task and queue, of `most` pairs and OTHER. Two queries, sometimes six. Raises django.db.Error."""
        with self._lock:
            if time.monotonic() - self._settled.at > SETTLED_FOR:
                self._settled = _settle()
            settled = self._settled
        # A task may have finished "tomorrow", by its worker's clock.
        fresh = TimeWindow(settled.until, int(time.time()) + DAY, DAY)
        totals_of = dict(settled.totals)
        for pair, totals in rollups.by_pair(fresh, _OWN).items():
            totals_of[pair] = totals_of[pair] + totals if pair in totals_of else totals
        return totals_of if len(totals_of) <= most else _bounded(totals_of, _first_days(settled, fresh), most)


class ApplicationsLifetime:
    """The counters of one process by application (its key), without histograms; thread-safe."""

    def __init__(self) -> None:
        self._until, self._at = 0, float("-inf")
        self._settled: dict[int, Totals] = {}
        self._lock = threading.Lock()

    def totals(self) -> dict[int, Totals]:
        """Return the totals by application. Two queries, sometimes four. Raises django.db.Error."""
        with self._lock:
            if time.monotonic() - self._at > SETTLED_FOR:
                until = watermarks().quarters
                self._settled = rollups.by_application(TimeWindow(0, until, DAY))
                self._until, self._at = until, time.monotonic()
            until, settled = self._until, self._settled
        fresh = rollups.by_application(TimeWindow(until, int(time.time()) + DAY, DAY))
        return {
            key: sum((part[key] for part in (settled, fresh) if key in part), start=Totals())
            for key in settled.keys() | fresh.keys()
        }


def _settle() -> _Settled:
    until = watermarks().quarters
    span = TimeWindow(0, until, DAY)
    return _Settled(until, rollups.by_pair(span, _OWN), rollups.first_days(span, _OWN), time.monotonic())


def _first_days(settled: _Settled, fresh: TimeWindow) -> dict[Pair, int]:
    return {**rollups.first_days(fresh, _OWN), **settled.days}


def _bounded(totals_of: dict[Pair, Totals], days: dict[Pair, int], most: int) -> dict[Pair, Totals]:
    """Return the totals of the first `most` pairs, and the sum of the others as OTHER."""
    # A pair that appeared between the queries is the newest.
    ranked = sorted(totals_of, key=lambda pair: (days.get(pair, float("inf")), pair))
    kept = {pair: totals_of[pair] for pair in ranked[:most]}
    rest = sum((totals_of[pair] for pair in ranked[most:]), start=Totals())
    return {**kept, OTHER: rest}
