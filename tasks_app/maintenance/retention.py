"""Retention: a list of rules, each of which removes rows that are too old or too many.

The engine applies them every hour, and `manage.py prune` on request. Rows are removed in chunks, each in its own transaction,
so that nobody waits long for their locks.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.utils import timezone

from tasks_app.maintenance import compaction, expired, task_logs
from tasks_app.models import DeadLetter
from tasks_app.recording import worker_minutes
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat
from zenith_site.common.retention import Rule, registered

logger = logging.getLogger(__name__)

#: Seconds between two passes.
LOOK_EVERY: Final = 3600.0
#: Rows removed in one transaction.
CHUNK: Final = 1000

# SKIP LOCKED: several engines may prune at once, and a letter that is being replayed is left alone.
_DELETE: Final = """
    DELETE FROM tasks_app_deadletter WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_app_deadletter WHERE {where} ORDER BY {order} LIMIT %s
        FOR UPDATE SKIP LOCKED))
"""
_OLD: Final = _DELETE.format(where="created_at < now() - %s", order="id")
# Resolved letters are removed before open ones.
_EXCESS: Final = _DELETE.format(where="application_id = %s", order="(state = 'OPEN'), id")

# The same time as in dispatch/idempotency.py (KEPT): older keys have no effect any more.
_IS_FORGOTTEN: Final = "created_at < now() - interval '24 hours'"
_FORGOTTEN: Final = f"""
    DELETE FROM tasks_app_idempotencykey WHERE key = ANY(ARRAY(
        SELECT key FROM tasks_app_idempotencykey WHERE {_IS_FORGOTTEN} ORDER BY created_at LIMIT %s
        FOR UPDATE SKIP LOCKED))
"""  # noqa: S608 -- no input is in it

# Removed by day, oldest first. The row for each day stays, so that `all` reaches back to the beginning.
_FIGURES: Final = (
    "FROM tasks_app_minuterollup WHERE minute < %s",
    "FROM tasks_app_periodrollup WHERE seconds < 86400 AND start < %s",
    "FROM tasks_app_loadsample WHERE minute < %s",
    "FROM tasks_app_queuesample WHERE minute < %s",
)


def rules() -> list[Rule]:
    """Return every rule, in the order to apply them: tasks after their dead letters, batches and workflows after their tasks."""
    return [*_OWN, *registered()]


def run(stop: threading.Event) -> None:
    """Prune every hour until `stop` is set."""
    repeat(stop, "retention", partial(_prune, stop), every=LOOK_EVERY)


def _prune(stop: threading.Event | None = None) -> None:
    """Apply every rule, working only half of the time: nothing here is urgent, and others need the disk."""
    stop = stop or threading.Event()
    for rule in rules():
        with isolate_faults("retention", rule.name):
            _follow(rule, stop)
        if stop.is_set():
            return
    # Do not keep a connection idle for an hour.
    connection.close()


def _follow(rule: Rule, stop: threading.Event) -> None:
    removed, started = 0, time.monotonic()
    for rows in rule.prune():
        removed += rows
        if stop.wait(min(1.0, time.monotonic() - started)):
            return
        started = time.monotonic()
    if removed:
        logger.info("Pruned: %s rows of %s.", removed, rule.name)


# --- Figures ----------------------------------------------------------------------------------------------------------


def prune_figures(*, max_age: timedelta, now: datetime | None = None) -> int:
    """Remove the figures by minute and quarter, and the samples, of whole days older than `max_age`; return how many rows."""
    return sum(_figures(max_age, now))


def _figures(max_age: timedelta, now: datetime | None = None) -> Iterator[int]:
    """Do that a day at a time, each in one transaction. Minutes that are not summed up by day yet stay."""
    end = _end_of_figures(max_age, now)
    for rows in _FIGURES:
        day = _oldest(rows.split()[1])
        while day is not None and day < end:
            day = min(day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1), end)
            yield _execute(f"DELETE {rows}", [day])


def _count_figures(max_age: timedelta) -> int:
    end = _end_of_figures(max_age)
    return sum(_count(f"SELECT count(*) {rows}", [end]) for rows in _FIGURES)


def _end_of_figures(max_age: timedelta, now: datetime | None = None) -> datetime:
    summed_up = compaction.utc_datetime(compaction.watermarks().days)
    return min((now or timezone.now()) - max_age, summed_up).replace(hour=0, minute=0, second=0, microsecond=0)


def _oldest(table: str) -> datetime | None:
    at = "start" if table == "tasks_app_periodrollup" else "minute"
    only = "WHERE seconds < 86400" if at == "start" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT min({at}) FROM {table} {only}")  # noqa: S608 -- one of the four above
        oldest: datetime | None = cursor.fetchone()[0]
    return oldest


# --- Dead letters, keys -----------------------------------------------------------------------------------------------


def prune_dead_letters(*, max_age: timedelta, max_count: int, chunk: int = CHUNK) -> int:
    """Remove letters older than `max_age`, and the oldest beyond `max_count` of each application; return how many."""
    return sum(_dead_letters(max_age, max_count, chunk))


def _dead_letters(max_age: timedelta, max_count: int, chunk: int = CHUNK) -> Iterator[int]:
    """Do that, a chunk at a time. Their tasks stay until their own retention ends.

    Each application has the whole bound, so that one whose tasks all fail does not push out the letters of others.
    """
    while count := _execute(_OLD, [max_age, chunk]):
        yield count
    for application, letters in _letters_by_application():
        excess = letters - max_count
        while excess > 0 and (count := _execute(_EXCESS, [application, min(chunk, excess)])):
            yield count
            excess -= count


def _count_dead_letters(max_age: timedelta, max_count: int) -> int:
    old = dict(_letters_by_application(created_at__lt=timezone.now() - max_age))
    return sum(max(old.get(application, 0), letters - max_count) for application, letters in _letters_by_application())


def _letters_by_application(**only: datetime) -> list[tuple[int | None, int]]:
    return list(DeadLetter.objects.filter(**only).order_by().values_list("application_id").annotate(Count("id")))


def prune_idempotency_keys(chunk: int = CHUNK) -> int:
    """Remove expired idempotency keys; return how many."""
    return sum(_keys(chunk))


def _keys(chunk: int = CHUNK) -> Iterator[int]:
    while count := _execute(_FORGOTTEN, [chunk]):
        yield count


def _count_keys() -> int:
    return _count(f"SELECT count(*) FROM tasks_app_idempotencykey WHERE {_IS_FORGOTTEN}")  # noqa: S608


# --- Workers' minutes -------------------------------------------------------------------------------------------------

_WORKER_MINUTES: Final = f"FROM tasks_app_workerminute WHERE minute < now() - {worker_minutes.KEPT} * interval '1 second'"
# An hour at a time, by the index of minutes.
_OLD_MINUTES: Final = f"""
    DELETE {_WORKER_MINUTES} AND minute < (SELECT min(minute) FROM tasks_app_workerminute) + interval '1 hour'
"""  # noqa: S608 -- no input is in it


def _worker_minutes() -> Iterator[int]:
    while count := _execute(_OLD_MINUTES, []):
        yield count


def _count_worker_minutes() -> int:
    return _count(f"SELECT count(*) {_WORKER_MINUTES}")


# --- The rules --------------------------------------------------------------------------------------------------------


def _age() -> timedelta:
    return timedelta(days=settings.ZENITH_RETENTION_DAYS)


def _log_bounds() -> tuple[timedelta, int]:
    return timedelta(days=settings.ZENITH_TASK_LOG_DAYS), settings.ZENITH_TASK_LOG_MAX_MB * 2**20


def _letter_bounds() -> tuple[timedelta, int]:
    return timedelta(days=settings.ZENITH_DEAD_LETTER_DAYS), settings.ZENITH_DEAD_LETTER_MAX


_OWN: Final = (
    Rule(
        "dead letters", "older than ZENITH_DEAD_LETTER_DAYS, or the oldest beyond ZENITH_DEAD_LETTER_MAX of an application",
        lambda: _dead_letters(*_letter_bounds()), lambda: _count_dead_letters(*_letter_bounds()),
    ),
    Rule(
        "tasks",
        "that ended more than ZENITH_RETENTION_DAYS ago and have no dead letter, with their events, attempts, results and logs",
        lambda: expired.tasks(_age()), lambda: expired.count("tasks", _age()),
    ),
    Rule(
        "task logs", "older than ZENITH_TASK_LOG_DAYS, or the oldest beyond ZENITH_TASK_LOG_MAX_MB of all",
        lambda: task_logs.prune(*_log_bounds()), lambda: task_logs.count(*_log_bounds()),
    ),
    Rule(
        "batches", "older than ZENITH_RETENTION_DAYS with no tasks left",
        lambda: expired.batches(_age()), lambda: expired.count("batches", _age()),
    ),
    Rule(
        "workflows", "older than ZENITH_RETENTION_DAYS with no tasks left",
        lambda: expired.workflows(_age()), lambda: expired.count("workflows", _age()),
    ),
    Rule(
        "replays", "that ended more than ZENITH_RETENTION_DAYS ago",
        lambda: expired.replay_runs(_age()), lambda: expired.count("runs", _age()),
    ),
    Rule(
        "figures", "by minute and quarter of an hour, and samples, older than ZENITH_RETENTION_DAYS; daily figures are kept",
        lambda: _figures(_age()), lambda: _count_figures(_age()),
    ),
    Rule("workers' minutes", "older than a day", _worker_minutes, _count_worker_minutes),
    Rule("idempotency keys", "older than a day", _keys, _count_keys),
)  # fmt: skip


def _count(query: str, parameters: Sequence[Any] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return int(cursor.fetchone()[0])


def _execute(query: str, parameters: Sequence[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return int(cursor.rowcount)
