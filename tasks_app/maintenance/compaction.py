"""Compaction of rollups: from minutes to quarters of an hour, three hours and days, so that charts over a month read hundreds
of rows and not a million. Also to five minutes, the steps of charts over hours, without telling tasks apart. Each application
has its own.

1. A quarter is summed up twenty minutes after its end, in order, from the oldest minute on. Three hours and days follow once
   their quarters are complete, and five minutes once their quarter is. This is idempotent.
2. A recorder that adds a count to an older minute marks its quarter as late (recording/rollups.py). Late quarters are summed
   up again, and so are the longer periods around them and the five minutes in them.
3. Readers (analytics/rollups.py) use the longest periods as far as they go, and minutes for the rest.

Any number of engines may run this; an advisory lock admits one at a time.
"""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from tasks_app.models.application import NATIVE_ID
from tasks_app.models.rollup import COUNT_COLUMNS, HISTOGRAM_COLUMNS, USAGE_COUNT_COLUMNS, USAGE_HISTOGRAM_COLUMNS
from tasks_app.recording.rollups import BUCKETS, LATE_AFTER, PERIOD
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.sql import statements

MINUTE: Final = 60
FIVE_MINUTES: Final = 300
QUARTER: Final = PERIOD
#: The steps of charts over a week or a month.
THREE_HOURS: Final = 10_800
DAY: Final = 86_400
#: The lengths of periods; each is a multiple of those before it.
LENGTHS: Final = (FIVE_MINUTES, QUARTER, THREE_HOURS, DAY)
#: Seconds after its end when a quarter is summed up, well after counts for it become late.
SETTLED_AFTER: Final = 2 * LATE_AFTER
#: The most periods of one length summed up in one transaction.
CHUNK: Final = 96


def _histogram_sum(column: str) -> str:
    """Return the SQL that adds up a column of histograms, bucket by bucket."""
    return "ARRAY[" + ", ".join(f"coalesce(sum({column}[{number}]), 0)::bigint" for number in range(1, BUCKETS + 1)) + "]"


def _sparse_sum(column: str) -> str:
    """Return the same for a histogram that is mostly empty, and stays so."""
    return f"CASE WHEN sum(cardinality({column})) > 0 THEN {_histogram_sum(column)} ELSE '{{}}' END"


#: The SQL of a rollup's columns, and of their sums: of the counts, and of the histograms, which take five times as long.
_ALL: Final = (*COUNT_COLUMNS, *HISTOGRAM_COLUMNS, *USAGE_COUNT_COLUMNS, *USAGE_HISTOGRAM_COLUMNS)
COLUMNS: Final = ", ".join(_ALL)
COUNT_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)" for name in COUNT_COLUMNS)
HISTOGRAM_SUMS: Final = ", ".join(map(_histogram_sum, HISTOGRAM_COLUMNS))
USAGE_SUMS: Final = ", ".join(
    [*(f"coalesce(sum({name}), 0)" for name in USAGE_COUNT_COLUMNS), *map(_sparse_sum, USAGE_HISTOGRAM_COLUMNS)]
)

_SQL: Final = statements(__file__)
_FILLED_IN: Final = {
    "columns": COLUMNS,
    "sums": f"{COUNT_SUMS}, {HISTOGRAM_SUMS}, {USAGE_SUMS}",
    "excluded": ", ".join(f"{name} = excluded.{name}" for name in _ALL),
    "quarter": QUARTER,
    "native": NATIVE_ID,
}
_OF_MINUTES: Final = {
    seconds: _SQL["sum_minutes"].format(seconds=seconds, finest=finest, **_FILLED_IN)
    for seconds, finest in ((FIVE_MINUTES, 1), (QUARTER, 0))
}
_OF_QUARTERS: Final = {seconds: _SQL["sum_quarters"].format(seconds=seconds, **_FILLED_IN) for seconds in (THREE_HOURS, DAY)}
# Scope 2 is all tasks and queues of an application: at least one row for each period.
_NEWEST: Final = "SELECT extract(epoch FROM max(start))::bigint FROM tasks_app_periodrollup WHERE seconds = %s AND scope = 2"
_OLDEST_MINUTE: Final = "SELECT extract(epoch FROM min(minute))::bigint FROM tasks_app_minuterollup"
_OLDEST_QUARTER: Final = f"""
    SELECT extract(epoch FROM min(start))::bigint FROM tasks_app_periodrollup WHERE seconds = {QUARTER} AND scope = 2
"""  # noqa: S608


def utc_datetime(seconds: float) -> datetime:
    """Return the time, in UTC, of a Unix time in seconds."""
    return datetime.fromtimestamp(seconds, tz=UTC)


# Minutes are removed only once their day is summed up, so nothing is older than these two.
OLDEST: Final = f"""
    SELECT extract(epoch FROM least((SELECT min(minute) FROM tasks_app_minuterollup),
        (SELECT min(start) FROM tasks_app_periodrollup WHERE seconds = {DAY} AND scope = 2)))::bigint
"""  # noqa: S608 -- a number


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Up to when, in Unix time, the periods of each length are summed up; 0 if none is.

    `oldest`: when the oldest figures begin; None if there are none.
    """

    five_minutes: int
    quarters: int
    three_hours: int
    days: int
    oldest: int | None = field(default=None, compare=False)

    def of(self, seconds: int) -> int:
        """Return how far the periods of one length go."""
        lengths = {FIVE_MINUTES: self.five_minutes, QUARTER: self.quarters, THREE_HOURS: self.three_hours, DAY: self.days}
        return lengths[seconds]


def watermarks() -> Watermarks:
    """Return how far the periods of each length go, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join([f'({_NEWEST})'] * len(LENGTHS))}, ({OLDEST})", LENGTHS)
        *newest, oldest = cursor.fetchone()
    done = (0 if start is None else start + seconds for start, seconds in zip(newest, LENGTHS, strict=True))
    return replace(Watermarks(*done), oldest=oldest)


def compact(now: float | None = None) -> bool:
    """Sum up a chunk of the periods that are due; return whether there may be more. Raises django.db.Error."""
    now = time.time() if now is None else now
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.COMPACTION])
        if not cursor.fetchone()[0]:
            return False
        late = _take_late(cursor, now)
        oldest = _oldest(cursor, _OLDEST_MINUTE)
        due = _due(cursor, QUARTER, now - SETTLED_AFTER, oldest)
        _write(cursor, _OF_MINUTES[QUARTER], [*late, *due])
        longer = [_sum_up_longer(cursor, seconds, late) for seconds in _OF_QUARTERS]
        shorter = _sum_up_shorter(cursor, late, oldest)
    return bool(due) or any(longer) or shorter


def _sum_up_longer(cursor: CursorWrapper, seconds: int, late: list[int]) -> bool:
    """Sum up the periods of one length that are now complete, and those around late quarters; return whether any were due."""
    marks = watermarks()
    due = _due(cursor, seconds, marks.quarters, _oldest(cursor, _OLDEST_QUARTER))
    # Only below the watermark: a period written ahead of it would make those in between look done.
    again = {start // seconds * seconds for start in late if start < marks.of(seconds)}
    _write(cursor, _OF_QUARTERS[seconds], [*again, *due])
    return bool(due)


def _sum_up_shorter(cursor: CursorWrapper, late: list[int], oldest: int | None) -> bool:
    """Sum up the five minutes of quarters that are summed up, and those of late ones; return whether any were due."""
    marks = watermarks()
    due = _due(cursor, FIVE_MINUTES, marks.quarters, oldest)
    again = {start + step for start in late if start < marks.five_minutes for step in range(0, QUARTER, FIVE_MINUTES)}
    # If the oldest minute lies within a quarter, a late period may be due as well; listed twice, it would count double.
    _write(cursor, _OF_MINUTES[FIVE_MINUTES], list(again.union(due)))
    return bool(due)


def _take_late(cursor: CursorWrapper, now: float) -> list[int]:
    """Remove the marks of late quarters; return those to sum up again: already summed up, and with minutes that are still kept.

    The marks are removed first: whoever marks a quarter again waits for this transaction, and is handled by the next one.
    """
    cursor.execute("DELETE FROM tasks_app_lateperiod RETURNING extract(epoch FROM start)::bigint")
    marked = [row[0] for row in cursor.fetchall()]
    quarters = watermarks().quarters
    oldest = now - settings.ZENITH_RETENTION_DAYS * DAY
    # Quarters that are not summed up yet will be in their turn.
    return sorted(start for start in marked if oldest < start < quarters)


def _due(cursor: CursorWrapper, seconds: int, until: float, oldest: int | None) -> list[int]:
    """Return the periods that follow the newest one, or start at the oldest time, and end by `until`."""
    cursor.execute(_NEWEST, [seconds])
    (newest,) = cursor.fetchone()
    if newest is None and oldest is None:
        return []
    start = newest + seconds if newest is not None else oldest // seconds * seconds  # type: ignore[operator]
    return list(range(start, int(until) // seconds * seconds, seconds))[:CHUNK]


def _oldest(cursor: CursorWrapper, query: str) -> int | None:
    cursor.execute(query)
    oldest: int | None = cursor.fetchone()[0]
    return oldest


def _write(cursor: CursorWrapper, query: str, starts: list[int]) -> None:
    if starts:
        cursor.execute(query, [[utc_datetime(start) for start in sorted(starts)]])
