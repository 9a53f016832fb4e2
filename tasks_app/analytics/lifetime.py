"""Everything that ever ended, by task and queue: counters that only rise, whatever retention takes away.

1. The sum is over days, quarters and minutes (rollups.py). Retention removes minutes and quarters only once their day is
   summed up, and days stay for ever, so removing them changes no sum.
2. Years of days are not added up for every scrape: what is older than two hours or so is kept in memory (`settled`) and added
   up anew every few minutes, because late reports still change it. Both parts only rise, and so does their sum.
3. At most so many pairs of task and queue are told apart: those that were seen first. One that is seen later, on the same day
   or after, counts as "(other)" and never comes out of it again, so that counter only rises as well.
"""

import threading
import time
from dataclasses import dataclass, field, fields
from typing import Final

from tasks_app.analytics import rollups
from tasks_app.analytics.rollups import Totals
from tasks_app.analytics.window import TimeWindow
from tasks_app.maintenance.compaction import DAY, watermarks

Pair = tuple[str, str]

OTHER: Final = ("(other)", "(other)")
#: Seconds after which the settled part is added up anew.
SETTLED_FOR: Final = 300.0
_ADDED: Final = tuple(item.name for item in fields(Totals) if item.name not in ("runtimes", "waits"))


@dataclass(frozen=True, slots=True)
class _Settled:
    """Everything before a time (Unix time in seconds), and when that was added up."""

    until: int = 0
    totals: dict[Pair, Totals] = field(default_factory=dict)
    days: dict[Pair, int] = field(default_factory=dict)
    at: float = float("-inf")


class Lifetime:
    """The counters of one process; any thread may ask."""

    def __init__(self) -> None:
        self._settled = _Settled()
        self._lock = threading.Lock()

    def totals(self, most: int) -> dict[Pair, Totals]:
        """Return the sums by task and queue, of `most` pairs and OTHER. Two queries, now and then six. Raises django.db.Error."""
        with self._lock:
            if time.monotonic() - self._settled.at > SETTLED_FOR:
                self._settled = _settle()
            settled = self._settled
        # Finished "tomorrow" is possible: the time is that of a worker's clock.
        fresh = TimeWindow(settled.until, int(time.time()) + DAY, DAY)
        found = dict(settled.totals)
        for pair, totals in rollups.by_pair(fresh).items():
            found[pair] = add(found[pair], totals) if pair in found else totals
        return found if len(found) <= most else _bounded(found, _first_days(settled, fresh), most)


def add(one: Totals, other: Totals) -> Totals:
    """Return the sum of two."""
    sums = {name: getattr(one, name) + getattr(other, name) for name in _ADDED}
    return Totals(
        **sums,
        runtimes=[mine + theirs for mine, theirs in zip(one.runtimes, other.runtimes, strict=True)],
        waits=[mine + theirs for mine, theirs in zip(one.waits, other.waits, strict=True)],
    )


def _settle() -> _Settled:
    until = watermarks().quarters
    span = TimeWindow(0, until, DAY)
    return _Settled(until, rollups.by_pair(span), rollups.first_days(span), time.monotonic())


def _first_days(settled: _Settled, fresh: TimeWindow) -> dict[Pair, int]:
    return {**rollups.first_days(fresh), **settled.days}


def _bounded(found: dict[Pair, Totals], days: dict[Pair, int], most: int) -> dict[Pair, Totals]:
    """Return the pairs that were seen first, and the sum of the others."""
    # One that appeared between the queries is the newest of all.
    ranked = sorted(found, key=lambda pair: (days.get(pair, float("inf")), pair))
    kept = {pair: found[pair] for pair in ranked[:most]}
    rest = Totals()
    for pair in ranked[most:]:
        rest = add(rest, found[pair])
    return {**kept, OTHER: rest}
