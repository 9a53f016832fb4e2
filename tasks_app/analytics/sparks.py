"""The last hour in twelve steps, for the sparklines of the Overview's counters, from samples and rollups."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import connection

from zenith_site.common.sql import statements

STEP: Final = 300
STEPS: Final = 12


def _nothing() -> list[float]:
    return [0.0] * STEPS


@dataclass(frozen=True, slots=True)
class Sparks:
    """One value for each five minutes of the last hour, oldest first.

    `busy` slots and `waiting` messages are means; `retried` and `failed` are counts.
    """

    busy: list[float] = field(default_factory=_nothing)
    waiting: list[float] = field(default_factory=_nothing)
    retried: list[float] = field(default_factory=_nothing)
    failed: list[float] = field(default_factory=_nothing)


_LAST_HOUR: Final = statements(__file__)["last_hour"]


def condensed(values: Sequence[float]) -> list[float]:
    """Return a series in at most STEPS steps, each the sum of some values."""
    size = -(-len(values) // STEPS)
    return [sum(values[start : start + size]) for start in range(0, len(values), size)]


def last_hour() -> Sparks:
    """Return the last hour up to now. One query, of a few hundred rows."""
    since = int(time.time()) // STEP * STEP - (STEPS - 1) * STEP
    sparks = Sparks()
    with connection.cursor() as cursor:
        cursor.execute(_LAST_HOUR, {"since": since, "length": STEP})
        for name, step, value in cursor.fetchall():
            if step < STEPS:
                getattr(sparks, name)[step] = value
    return sparks
