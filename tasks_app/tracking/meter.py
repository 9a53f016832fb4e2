"""What the recorders have done since Redis was started empty: how large their batches were, and how late they came.

Engines have no port to be asked at, and there may be many of them. So each counts into one hash in Redis, in the script
that removes a batch from the stream (stream.py): no round trip of its own, and counters that go on when an engine ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tasks_app.tracking.line import client, text

KEY: Final = "zenith:recorder"
#: Upper bounds of the entries in a batch, and of the milliseconds from a batch's oldest entry until its commit.
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
DELAYS_MS: Final = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)

# Follows on a script whose ARGV are the group, KEY, and the ids of the batch. A full Redis refuses to count (pcall), but not to
# remove. The ids begin with the time of Redis' own clock, so no other clock matters.
COUNT: Final = f"""
local function count(name, bounds, value)
  local bucket = 'inf'
  for _, bound in ipairs(bounds) do
    if value <= bound then bucket = bound break end
  end
  redis.pcall('HINCRBY', ARGV[2], name .. ':' .. bucket, 1)
  redis.pcall('HINCRBY', ARGV[2], name .. ':sum', value)
end
local now = redis.call('TIME')
local came = tonumber(string.match(ARGV[3], '^%d+'))
count('size', {{{", ".join(map(str, SIZES))}}}, #ARGV - 2)
count('delay', {{{", ".join(map(str, DELAYS_MS))}}}, math.max(0, math.floor(now[1] * 1000 + now[2] / 1000) - came))
"""


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
    """Return what was counted. Raises redis.RedisError."""
    found = {text(name): int(value) for name, value in client().hgetall(KEY).items()}
    return Recorded(_distribution(found, "size", SIZES, 1), _distribution(found, "delay", DELAYS_MS, 1000))


def _distribution(found: dict[str, int], name: str, bounds: Sequence[int], unit: int) -> Distribution:
    names = [*map(str, bounds), "inf"]
    return Distribution(
        tuple(bound / unit for bound in bounds),
        tuple(found.get(f"{name}:{bucket}", 0) for bucket in names),
        found.get(f"{name}:sum", 0) / unit,
    )
