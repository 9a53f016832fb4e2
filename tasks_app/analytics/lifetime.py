"""Totals of all time by task and queue: counters that only increase, whatever retention removes.

1. They sum up days, quarters and minutes (rollups.py). Retention removes minutes and quarters only once their day is summed
   up, and days are kept forever, so removing rows does not change the sums.
2. Years of days are not added up for every scrape: totals older than about two hours are cached (`settled`) and added up again
   every few minutes, since late reports still change them. Both parts only increase, and so does their sum.
3. The number of pairs of task and queue is limited: the first ones are told apart. A later pair counts as "(other)" and never
   leaves it, so that counter only increases as well.
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
#: Seconds after which the settled part is added up again.
SETTLED_FOR: Final = 300.0
_ADDED: Final = tuple(item.name for item in fields(Totals) if item.name not in ("runtimes", "waits"))


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
    """Return the totals of the first `most` pairs, and the sum of the others as OTHER."""
    # A pair that appeared between the queries is the newest.
    ranked = sorted(found, key=lambda pair: (days.get(pair, float("inf")), pair))
    kept = {pair: found[pair] for pair in ranked[:most]}
    rest = Totals()
    for pair in ranked[most:]:
        rest = add(rest, found[pair])
    return {**kept, OTHER: rest}
