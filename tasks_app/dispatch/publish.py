"""Publish the messages of committed tasks: from PENDING to QUEUED.

A retry with a long back-off waits in PostgreSQL (`held`); when it is due, the message of its next attempt is published under
the same id.

A task's row is locked while its message is published and its status changes, so the dispatch's fast path and any number of
relays share the work without sending anything twice. If a crash comes between the two, the message was sent but the row is
unchanged, and the message is sent once more. A relay cannot recognise that case, so it marks its messages `perhaps_sent`,
and the worker asks an engine before it runs the task.

Nothing is sent to a paused queue: its tasks stay as they are until it is resumed.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import redis
from django.db import DatabaseError, connection, transaction
from django.db.backends.utils import CursorWrapper
from kombu.exceptions import BatchPublishError, OperationalError

from tasks_app.dispatch.failures import failure
from tasks_app.dispatch.message import ROW_COLUMNS, TaskRow, send_message
from tasks_app.recording import live
from tasks_app.recording.events import EventRow, write_events
from zenith_site.common import faults
from zenith_site.common.application import celery_app
from zenith_site.common.errors import BrokerUnavailableError
from zenith_site.common.faults import is_unreachable
from zenith_site.common.sql import statements
from zenith_worker.wire import broker_queues, spans, stream
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status, position

logger = logging.getLogger(__name__)

#: Rows locked and messages sent in one transaction; a recorder may have to wait for the whole chunk.
CHUNK: Final = 1000

# The paused queues are few, and are read once per query. Zenith sends only tasks of its own application (NATIVE_ID).
_LOCK: Final = """
    SELECT {columns} FROM tasks_app_task
    WHERE ({where}) AND application_id = 1 AND queue <> ALL(ARRAY(SELECT queue FROM tasks_app_queuepause))
    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""
_OF_BATCH: Final = _LOCK.format(columns=ROW_COLUMNS, where="batch_id = %s AND status = 'PENDING'")
_OF_QUEUE: Final = _LOCK.format(columns=ROW_COLUMNS, where="queue = %s AND status = 'PENDING'")
_DUE: Final = _LOCK.format(
    columns=ROW_COLUMNS,
    where="(status = 'SCHEDULED' AND not_before <= now()) OR (held AND status = 'RETRY' AND not_before <= now())",
)
_ONE: Final = _LOCK.format(
    columns=ROW_COLUMNS,
    where="id = %s AND (status = 'PENDING' OR not_before <= now() AND (status = 'SCHEDULED' OR held AND status = 'RETRY'))",
)
_SQL: Final = statements(__file__)
PENDING_QUEUES: Final = _SQL["pending_queues"]
_MARK: Final = _SQL["mark_queued"]


def publish_batch(batch_id: UUID) -> int:
    """Publish the PENDING tasks of one batch; return how many messages were sent.

    An unreachable broker or database raises nothing: the tasks are committed, and the relay publishes those that stay
    PENDING.
    """
    sent = 0
    try:
        while count := _publish(_OF_BATCH, [batch_id, CHUNK]):
            sent += count
    except (BrokerUnavailableError, DatabaseError) as error:
        logger.warning("Batch %s waits for the relay: %s", batch_id, error)
    return sent


def publish_due(limit: int = CHUNK) -> int:
    """Publish tasks that are due, whether scheduled or to be retried, and those left PENDING; return how many.

    At most `limit` due tasks, and at most `limit` PENDING tasks of each queue. Raises BrokerUnavailableError; then the rest
    is unchanged.
    """
    sent = _publish(_DUE, [limit], perhaps_sent=True)
    return sent + sum(_publish(_OF_QUEUE, [queue, limit], perhaps_sent=True) for queue in _pending_queues())


def _pending_queues() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(PENDING_QUEUES)
        return [queue for (queue,) in cursor.fetchall()]


def _publish(query: str, parameters: Sequence[Any], *, perhaps_sent: bool = False) -> int:
    """Publish the tasks that a query locks. If one of the messages cannot be built, its task fails and the others are sent."""
    try:
        return _publish_all(query, parameters, perhaps_sent)
    except Exception as error:
        if is_unreachable(error):
            raise
        logger.warning("%s; each of these tasks is now sent separately.", error)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows = [TaskRow(*values) for values in cursor.fetchall()]
    return sum(map(_publish_one, rows))


def _publish_one(row: TaskRow) -> int:
    """Publish the message of one task; return 1 if it was sent, else 0."""
    try:
        return _publish_all(_ONE, [row.key, 1], perhaps_sent=True)
    except Exception as error:
        if is_unreachable(error):
            raise
        faults.record_fault("relay", error, f"task {row.task_id}")
        stream.append([failure(row, "UnsendableError", f"its message cannot be built: {type(error).__name__}: {error}"[:1000])])
        return 0


def _publish_all(query: str, parameters: Sequence[Any], perhaps_sent: bool) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows = _sendable([TaskRow(*values) for values in cursor.fetchall()])
        if not rows:
            return 0
        # Taken before the first message is sent: a worker may receive that one before the last is sent.
        now = time.time()
        with spans.span("publish", zenith__count=len(rows)):
            _send(rows, perhaps_sent)
        newest = _mark_queued(cursor, rows, now)
    live.poke(newest)
    return len(rows)


def _sendable(rows: Sequence[TaskRow]) -> Sequence[TaskRow]:
    """Leave out tasks of queues that cannot take messages, which would block all the others; `doctor` names those queues."""
    try:
        closed = broker_queues.closed(row.queue for row in rows) if rows else set()
    except redis.RedisError as error:
        raise BrokerUnavailableError(str(error)) from error
    return [row for row in rows if row.queue not in closed]


def _steps(row: TaskRow) -> tuple[Status, ...]:
    """Return the statuses that a task enters when it is sent."""
    return (Status.PENDING, Status.QUEUED) if row.status == Status.SCHEDULED else (Status.QUEUED,)


def _send(rows: Sequence[TaskRow], perhaps_sent: bool) -> None:
    """Send the messages of these tasks in one pipelined batch.

    Raises BrokerUnavailableError; then some may have been sent.
    """
    try:
        with celery_app().producer_or_acquire() as producer, producer.batch():
            for row in rows:
                send_message(producer, row, perhaps_sent=perhaps_sent)
    except (OperationalError, BatchPublishError, redis.RedisError) as error:
        raise BrokerUnavailableError(str(error)) from error


def _mark_queued(cursor: CursorWrapper, rows: Sequence[TaskRow], now: float) -> int | None:
    by_run: dict[RunNumber, list[UUID]] = defaultdict(list)
    for row in rows:
        by_run[row.run].append(row.key)
    for run, ids in by_run.items():
        cursor.execute(_MARK, [position(run.attempt, 0, Status.QUEUED, run.nesting), now, ids])
    events = [
        EventRow(row.key, status, position(row.run.attempt, 0, status, row.run.nesting), now)
        for row in rows
        for status in _steps(row)
    ]
    return max((event_id for event_id, _, _ in write_events(cursor, events)), default=None)
