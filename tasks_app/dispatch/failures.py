"""How a task ends without a run: its message cannot be built, or must not be sent again."""

import json
import time

from tasks_app.dispatch.message import TaskRow
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status, delivery_of


def failure(row: TaskRow, kind: str, reason: str) -> Event:
    """Return the event of a task that fails without a run; `kind` is the error's type and `reason` its message."""
    return Event(
        task_id=row.task_id, status=Status.FAILURE, at=time.time(), nesting=row.run.nesting, attempt=row.run.attempt,
        delivery=delivery_of(row.position), error_type=kind, error_message=reason,
        result=json.dumps({"exc_type": kind, "exc_message": [reason], "exc_module": "celery.exceptions"}),
    )  # fmt: skip
