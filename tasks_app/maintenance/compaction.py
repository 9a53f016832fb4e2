"""Summing up: from minutes to quarters of an hour to three hours to days, so that charts over a month read hundreds of rows and
not a million. And to five minutes, the steps of a chart over hours, without telling tasks apart.

1. A quarter is summed up twenty minutes after its end, in order, from the oldest minute there is. Three hours and a day
   follow once their quarters are complete, and five minutes once their quarter is. Doing it again gives the same.
2. A recorder that counts something into an older minute marks its quarter (recording/rollups.py); marked ones
   are summed up again, and so are the longer periods around them and the five minutes in them.
3. Whoever reads (analytics/rollups.py) takes the longest as far as they go, and minutes for the rest.

Any number of engines may do this: an advisory lock lets one at a time.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from tasks_app.recording.rollups import BUCKETS, LATE_AFTER, PERIOD
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.sql import statements

MINUTE: Final = 60
FIVE_MINUTES: Final = 300
QUARTER: Final = PERIOD
#: What charts over a week or a month have steps of.
THREE_HOURS: Final = 10_800
DAY: Final = 86_400
#: Of the periods; each is a multiple of those before.
LENGTHS: Final = (FIVE_MINUTES, QUARTER, THREE_HOURS, DAY)
#: Seconds after its end at which a quarter is summed up: well after reports to it begin to count as late.
SETTLED_AFTER: Final = 2 * LATE_AFTER
#: Periods of one length summed up in one transaction.
CHUNK: Final = 96

_COUNTS: Final = ("succeeded", "failed", "revoked", "retried", "runtime_seconds", "waiting_seconds")
_HISTOGRAMS: Final = ("runtime_histogram", "waiting_histogram")


def histogram_sum(column: str) -> str:
    """Return the SQL that adds up a column of histograms, bucket by bucket."""
    return "ARRAY[" + ", ".join(f"coalesce(sum({column}[{number}]), 0)::bigint" for number in range(1, BUCKETS + 1)) + "]"


_SQL: Final = statements(__file__)
_FILLED_IN: Final = {
    "columns": ", ".join([*_COUNTS, *_HISTOGRAMS]),
    "sums": ", ".join([*(f"coalesce(sum({name}), 0)" for name in _COUNTS), *map(histogram_sum, _HISTOGRAMS)]),
    "excluded": ", ".join(f"{name} = excluded.{name}" for name in (*_COUNTS, *_HISTOGRAMS)),
    "quarter": QUARTER,
}
_OF_MINUTES: Final = {
    seconds: _SQL["sum_minutes"].format(seconds=seconds, finest=finest, **_FILLED_IN)
    for seconds, finest in ((FIVE_MINUTES, 1), (QUARTER, 0))
}
_OF_QUARTERS: Final = {seconds: _SQL["sum_quarters"].format(seconds=seconds, **_FILLED_IN) for seconds in (THREE_HOURS, DAY)}
# Scope 2 is all tasks and queues: a row for each period.
_NEWEST: Final = "SELECT extract(epoch FROM max(start))::bigint FROM tasks_app_periodrollup WHERE seconds = %s AND scope = 2"
_OLDEST_MINUTE: Final = "SELECT extract(epoch FROM min(minute))::bigint FROM tasks_app_minuterollup"
_OLDEST_QUARTER: Final = f"""
    SELECT extract(epoch FROM min(start))::bigint FROM tasks_app_periodrollup WHERE seconds = {QUARTER} AND scope = 2
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Up to when, in Unix time, everything is summed up; 0 where nothing is."""

    five_minutes: int
    quarters: int
    three_hours: int
    days: int

    def of(self, seconds: int) -> int:
        """Return how far the periods of one length go."""
        lengths = {FIVE_MINUTES: self.five_minutes, QUARTER: self.quarters, THREE_HOURS: self.three_hours, DAY: self.days}
        return lengths[seconds]


def watermarks() -> Watermarks:
    """Return how far the periods of each length go, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join([f'({_NEWEST})'] * len(LENGTHS))}", LENGTHS)
        newest = cursor.fetchone()
    return Watermarks(*(0 if start is None else start + seconds for start, seconds in zip(newest, LENGTHS, strict=True)))


def compact(now: float | None = None) -> bool:
    """Sum up what is due, a chunk of it; return whether there is more. Raises django.db.Error."""
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
    """Sum up the periods of one length that are complete now, and those around late quarters; return whether any were due."""
    known = watermarks()
    due = _due(cursor, seconds, known.quarters, _oldest(cursor, _OLDEST_QUARTER))
    # What was not reached yet has its turn later: one in front of it would make it look as if it were done.
    again = {start // seconds * seconds for start in late if start < known.of(seconds)}
    _write(cursor, _OF_QUARTERS[seconds], [*again, *due])
    return bool(due)


def _sum_up_shorter(cursor: CursorWrapper, late: list[int], oldest: int | None) -> bool:
    """Sum up the five minutes of quarters that are done, and those of late ones; return whether any were due."""
    known = watermarks()
    due = _due(cursor, FIVE_MINUTES, known.quarters, oldest)
    again = {start + step for start in late if start < known.five_minutes for step in range(0, QUARTER, FIVE_MINUTES)}
    # Where the oldest minute lies in the middle of a quarter, a late one may be due as well; twice, it would count double.
    _write(cursor, _OF_MINUTES[FIVE_MINUTES], list(again.union(due)))
    return bool(due)


def _take_late(cursor: CursorWrapper, now: float) -> list[int]:
    """Return the marked quarters that were summed up before, but for those whose minutes retention takes away.

    The marks go first: whoever marks again from now on waits for the end, and is seen the next time.
    """
    cursor.execute("DELETE FROM tasks_app_lateperiod RETURNING extract(epoch FROM start)::bigint")
    found = [row[0] for row in cursor.fetchall()]
    quarters = watermarks().quarters
    oldest = now - settings.ZENITH_RETENTION_DAYS * DAY
    # What was never summed up will be when its turn comes.
    return sorted(start for start in found if oldest < start < quarters)


def _due(cursor: CursorWrapper, seconds: int, until: float, oldest: int | None) -> list[int]:
    """Return the periods that end by `until` and follow the newest there is, or begin with the oldest time."""
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
        cursor.execute(query, [[_moment(start) for start in sorted(starts)]])


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
