"""Remove what tasks logged once it is too old, or if all of it is too much, the oldest first; rows are in the order of their ids.

What a task logged also goes with the task (expired.py). Lines whose task there never was stay as long as those of any other.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

from zenith_site.common.sql import statements

#: Rows removed in one transaction.
CHUNK: Final = 1000
_SQL: Final = statements(__file__)


def prune(max_age: timedelta, max_chars: int, chunk: int = CHUNK) -> Iterator[int]:
    """Remove rows older than `max_age`, and the oldest beyond `max_chars` in all; yield the number after each transaction."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_SQL["remove_old_task_logs"], [chunk, timezone.now() - max_age])
            if not cursor.rowcount:
                break
            yield cursor.rowcount
        cursor.execute("SELECT coalesce(sum(chars), 0) FROM tasks_app_tasklog")
        excess = int(cursor.fetchone()[0]) - max_chars
        while excess > 0:
            cursor.execute(_SQL["remove_oldest_task_logs"], [chunk, excess])
            removed = [chars for (chars,) in cursor.fetchall()]
            if not removed:
                return
            excess -= sum(removed)
            yield len(removed)


def count(max_age: timedelta, max_chars: int) -> int:
    """Return how many rows would be removed now."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL["count_removable_task_logs"], [timezone.now() - max_age, max_chars])
        return int(cursor.fetchone()[0])
