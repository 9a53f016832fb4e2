"""Keeping what grows within bounds: dead letters, by their age and by their number; rollups, samples and keys, by their age."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.utils import timezone

from tasks_app.models import DeadLetter
from tasks_app.tracking import periods
from zenith_site.common.loops import repeat

logger = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK_EVERY: Final = 3600.0
#: Rows removed in one transaction, so that nobody waits long for their locks.
CHUNK: Final = 1000

# SKIP LOCKED: several engines may prune at once, and a letter that is being replayed is left alone.
_DELETE: Final = """
    DELETE FROM tasks_app_deadletter WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_app_deadletter WHERE {where} ORDER BY {order} LIMIT %s
        FOR UPDATE SKIP LOCKED))
"""
_OLD: Final = _DELETE.format(where="created_at < now() - %s", order="id")
# What somebody decided about goes before what still waits for a decision.
_EXCESS: Final = _DELETE.format(where="true", order="(state = 'OPEN'), id")

# As long as dispatch/idempotency.py remembers them (KEPT); an older one is not looked at, only in the way.
_FORGOTTEN: Final = """
    DELETE FROM tasks_app_idempotencykey WHERE key = ANY(ARRAY(
        SELECT key FROM tasks_app_idempotencykey WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT %s
        FOR UPDATE SKIP LOCKED))
"""


_others: list[Callable[[], int]] = []


def also(prune: Callable[[], int]) -> None:
    """Have something of another app pruned every hour, too; `prune` returns how many rows it removed."""
    if prune not in _others:
        _others.append(prune)


def run(stop: threading.Event) -> None:
    """Prune every hour until `stop` is set."""
    repeat(stop, "Pruning", _prune, every=LOOK_EVERY)


# By day, the oldest first: a row for each day stays, so that `all` reaches back to the beginning.
_FIGURES: Final = (
    "DELETE FROM tasks_app_minuterollup WHERE minute < %s",
    "DELETE FROM tasks_app_periodrollup WHERE seconds < 86400 AND start < %s",
    "DELETE FROM tasks_app_loadsample WHERE minute < %s",
    "DELETE FROM tasks_app_queuesample WHERE minute < %s",
)


def prune_figures(*, max_age: timedelta, now: datetime | None = None) -> int:
    """Remove the minutes, quarters and samples of whole days older than `max_age`; return how many rows.

    Minutes that are not summed up by day yet stay. A day is one transaction, so nobody waits for long.
    """
    summed_up = datetime.fromtimestamp(periods.reach().days, tz=UTC)
    end = min((now or timezone.now()) - max_age, summed_up).replace(hour=0, minute=0, second=0, microsecond=0)
    removed = 0
    for query in _FIGURES:
        day = _oldest(query.split()[2])
        while day is not None and day < end:
            day = min(day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1), end)
            removed += _execute(query, [day])
    return removed


def _oldest(table: str) -> datetime | None:
    at = "start" if table == "tasks_app_periodrollup" else "minute"
    only = "WHERE seconds < 86400" if at == "start" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT min({at}) FROM {table} {only}")  # noqa: S608 -- one of the four above
        oldest: datetime | None = cursor.fetchone()[0]
    return oldest


def _prune() -> None:
    removed = prune_dead_letters(
        max_age=timedelta(days=settings.ZENITH_DEAD_LETTER_DAYS), max_count=settings.ZENITH_DEAD_LETTER_MAX
    )
    if removed:
        logger.info("%s dead letters were pruned.", removed)
    for prune in _others:
        if removed := prune():
            logger.info("%s rows were pruned by %s.", removed, prune.__module__)
    prune_idempotency_keys()
    prune_figures(max_age=timedelta(days=settings.ZENITH_RETENTION_DAYS))
    # Nobody needs a connection that idles for an hour.
    connection.close()


def prune_dead_letters(*, max_age: timedelta, max_count: int, chunk: int = CHUNK) -> int:
    """Remove letters older than `max_age`, and the oldest beyond `max_count`; return how many.

    Their tasks stay until their own retention ends. Each chunk is a transaction of its own.
    """
    removed = 0
    while count := _execute(_OLD, [max_age, chunk]):
        removed += count
    excess = DeadLetter.objects.count() - max_count
    while excess > 0 and (count := _execute(_EXCESS, [min(chunk, excess)])):
        removed += count
        excess -= count
    return removed


def prune_idempotency_keys(chunk: int = CHUNK) -> int:
    """Remove the keys that are remembered no more; return how many."""
    removed = 0
    while count := _execute(_FORGOTTEN, [chunk]):
        removed += count
    return removed


def _execute(query: str, parameters: Sequence[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return int(cursor.rowcount)
