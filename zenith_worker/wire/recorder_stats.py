"""What the recorders have done since Redis was started empty: how large their batches were, and how late they came.

Engines have no port to be asked at, and there may be many of them. So each counts into one hash in Redis, in the script
that removes a batch from the stream (lua/batch_done.lua): no round trip of its own, and counters that go on when an engine ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import RECORDER_STATS

#: Upper bounds of the entries in a batch, and of the milliseconds from a batch's oldest entry until its commit.
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
DELAYS_MS: Final = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many values lie at or below each bound and above the one before, with one more count for what lies above all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def cumulative(self) -> list[int]:
        """Return for each bound, and for no bound, how many values lie at or below it."""
        sums, seen = [], 0
        for count in self.counts:
            seen += count
            sums.append(seen)
        return sums


@dataclass(frozen=True, slots=True)
class Recorded:
    """The batches so far: entries of each, and seconds from each one's oldest entry until its commit."""

    sizes: Distribution
    delays: Distribution


def read() -> Recorded:
    """Return what was counted; what is no number there counts as nothing. Raises redis.RedisError."""
    found = {text(name): _number(text(value)) for name, value in client().hgetall(RECORDER_STATS).items()}
    return Recorded(_distribution(found, "size", SIZES, 1), _distribution(found, "delay", DELAYS_MS, 1000))


def _number(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0


def _distribution(found: dict[str, int], name: str, bounds: Sequence[int], unit: int) -> Distribution:
    names = [*map(str, bounds), "inf"]
    return Distribution(
        tuple(bound / unit for bound in bounds),
        tuple(found.get(f"{name}:{bucket}", 0) for bucket in names),
        found.get(f"{name}:sum", 0) / unit,
    )
