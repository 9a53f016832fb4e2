"""Send lost tasks again: those whose message exists nowhere (maintenance/reconciler.py finds them)."""

import json
import logging
from collections.abc import Sequence
from typing import Final

import redis
from django.db import connection, transaction
from kombu.exceptions import OperationalError

from tasks_app.dispatch.failures import failure
from tasks_app.dispatch.message import ROW_COLUMNS, TaskRow, send_message
from tasks_app.maintenance.reconciler import LostTask
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.application import celery_app
from zenith_site.common.errors import BrokerUnavailableError
from zenith_worker.wire import broker_queues, claims, stream
from zenith_worker.wire.deliveries import put_back
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

_EARLY: Final = "its worker died, and its message was acknowledged before it ran, so it is not run again"
_OPAQUE: Final = "its message was lost and cannot be rebuilt: its arguments are not JSON"
_UNSEEN: Final = "its message was lost before Zenith saw its contents"

_LOCK: Final = f"""
    SELECT {ROW_COLUMNS} FROM tasks_app_task WHERE id = ANY(%s::uuid[]) AND application_id = {NATIVE_ID}
    ORDER BY id FOR UPDATE SKIP LOCKED
"""  # noqa: S608 -- only names of columns are put in


def resend(lost: Sequence[LostTask]) -> int:
    """Publish lost tasks again, unless their rows have changed; return how many.

    Raises BrokerUnavailableError; then some may have been sent, and the reconciler finds the rest again.
    """
    last_seen = {task.key: (task.status, task.position) for task in lost}
    sent = 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK, [list(last_seen)])
        rows = [TaskRow(*values) for values in cursor.fetchall()]
        try:
            with celery_app().producer_or_acquire() as producer:
                failed = claims.failed_runs([row.task_id for row in rows])
                closed = broker_queues.closed(row.queue for row in rows)
                for row in rows:
                    if last_seen[row.key] != (row.status, row.position) or row.queue in closed:
                        continue
                    if reason := _reason_not_to(row):
                        stream.append([failure(row, "WorkerLostError" if reason == _EARLY else "MessageLostError", reason)])
                        continue
                    if (number := failed.get(row.task_id, -1)) >= row.run.number:
                        # A message of that run would be refused: its failure was reported, and the row was put back since.
                        row = row._replace(status=Status.RETRY, position=(number << 16) | Status.RETRY.rank)
                    send_message(producer, row, again=True)
                    reason = f"it was {row.status}, but its message was lost; it was sent again"
                    stream.append([put_back(row.task_id, row.run, reason)])
                    sent += 1
        except (OperationalError, redis.RedisError) as error:
            raise BrokerUnavailableError(str(error)) from error
    if sent:
        logger.warning("%s tasks whose message was lost were sent again.", sent)
    return sent


def _reason_not_to(row: TaskRow) -> str:
    """Return why a lost task cannot, or must not, be sent again; empty if it can."""
    extras = json.loads(row.extras or "{}")
    if row.acks_early and row.status == Status.STARTED:
        return _EARLY
    if extras.get("opaque"):
        return _OPAQUE
    # The row of a task that replaced itself shows the original task, not the one that runs in its place.
    return _UNSEEN if not row.name or (row.run.nesting and "task" not in extras) else ""
