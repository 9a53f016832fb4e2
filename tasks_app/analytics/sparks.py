"""The last hour in twelve steps: the small drawings in the Overview's counters, from samples and rollups."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import connection

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


# `step` counts from 0, the oldest.
_HOUR: Final = """
    SELECT 'busy', {step}, sum(busy)::float8 / sum(looks)
    FROM tasks_app_loadsample WHERE minute >= to_timestamp(%(since)s) GROUP BY 2
    UNION ALL
    SELECT 'waiting', {step}, avg(depth)::float8
    FROM (SELECT minute, sum(depth) AS depth FROM tasks_app_queuesample
        WHERE minute >= to_timestamp(%(since)s) GROUP BY 1) AS queues
    GROUP BY 2
    UNION ALL
    SELECT unnest(ARRAY['retried', 'failed']), step, unnest(ARRAY[retried, failed])::float8
    FROM (SELECT {step} AS step, sum(retried) AS retried, sum(failed) AS failed
        FROM tasks_app_minuterollup WHERE minute >= to_timestamp(%(since)s) GROUP BY 1) AS ended
""".format(step=f"((date_part('epoch', minute)::bigint - %(since)s) / {STEP})::int")  # noqa: S608 -- our own words


def condensed(values: Sequence[float]) -> list[float]:
    """Return a series in so few steps, each the sum of some of its own."""
    size = -(-len(values) // STEPS)
    return [sum(values[start : start + size]) for start in range(0, len(values), size)]


def last_hour() -> Sparks:
    """Return the last hour up to now. One query, of some hundred rows."""
    since = int(time.time()) // STEP * STEP - (STEPS - 1) * STEP
    found = Sparks()
    with connection.cursor() as cursor:
        cursor.execute(_HOUR, {"since": since})
        for name, step, value in cursor.fetchall():
            if step < STEPS:
                getattr(found, name)[step] = value
    return found
