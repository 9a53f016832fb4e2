"""Statistics of the recorders since Redis was emptied: the sizes of their batches, and their delays.

Engines have no port to query, and there may be many. So each counts into one hash in Redis, in the script that removes a batch
from the stream (lua/batch_done.lua): this costs no extra round trip, and the counters survive an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zenith_worker.wire.client import client, text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.keys import RECORDER_STATS

#: Upper bounds of the entries in a batch, and of the milliseconds from a batch's oldest entry until its commit.
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
DELAYS_MS: Final = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The number of values up to each bound and above the one before, and the number of values above all bounds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def cumulative(self) -> list[int]:
        """Return the number of values up to each bound, and of all values."""
        sums, total = [], 0
        for count in self.counts:
            total += count
            sums.append(total)
        return sums


@dataclass(frozen=True, slots=True)
class Recorded:
    """The batches so far: entries of each, and seconds from each one's oldest entry until its commit."""

    sizes: Distribution
    delays: Distribution


def read() -> Recorded:
    """Return the statistics; a counter that is not a number counts as 0. Raises redis.RedisError."""
    counters = {text(name): _number(text(value)) for name, value in client().hgetall(RECORDER_STATS).items()}
    return Recorded(_distribution(counters, "size", SIZES, 1), _distribution(counters, "delay", DELAYS_MS, 1000))


def _number(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0


def _distribution(counters: dict[str, int], name: str, bounds: Sequence[int], unit: int) -> Distribution:
    names = [*map(str, bounds), "inf"]
    return Distribution(
        tuple(bound / unit for bound in bounds),
        tuple(counters.get(f"{name}:{bucket}", 0) for bucket in names),
        counters.get(f"{name}:sum", 0) / unit,
    )
