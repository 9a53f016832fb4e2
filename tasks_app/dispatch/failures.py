"""The end of a task that no worker runs: nothing can be sent for it, or it must not be sent again."""

import json
import time

from tasks_app.dispatch.message import TaskRow
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status, delivery_of


def failure(row: TaskRow, kind: str, reason: str) -> Event:
    """Return what to report of a task that fails without a run: `kind` names the error, `reason` is its message."""
    return Event(
        task_id=row.task_id, status=Status.FAILURE, at=time.time(), nesting=row.run.nesting, attempt=row.run.attempt,
        delivery=delivery_of(row.position), error_type=kind, error_message=reason,
        result=json.dumps({"exc_type": kind, "exc_message": [reason], "exc_module": "celery.exceptions"}),
    )  # fmt: skip
