"""Tasks that failed, as a recorder writes them: for tests of what is kept of a failure and what becomes of it."""

from __future__ import annotations

import time
from typing import Any

from tasks_app.models import Task
from tasks_app.recording.apply import apply
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status, position

TRACEBACK = """Traceback (most recent call last):
  File "/srv/zenith/tasks_app/base.py", line 70, in run
    return body(*args, **kwargs)
  File "/srv/shop/billing/tasks.py", line {line}, in charge
    raise CardError
CardError: {message}
"""


def queued(**values: Any) -> Task:
    """A task on the broker, as a dispatch leaves it."""
    defaults: dict[str, Any] = {
        "id": new_id(), "name": "analyze_text", "queue": "default", "status": Status.QUEUED, "args": ["text"],
        "kwargs": {}, "position": position(0, 0, Status.QUEUED), "source": "api", "max_retries": 3,
    }  # fmt: skip
    from django.utils import timezone

    return Task.objects.create(**{**defaults, "created_at": timezone.now(), **values})


def failure(task: Task, *, message: str = "declined", line: int = 12, **values: Any) -> Event:
    """The report of a task's last failure, of its first attempt unless said otherwise."""
    now = time.time()
    defaults: dict[str, Any] = {
        "task_id": str(task.id), "status": Status.FAILURE, "at": now, "received_at": now - 2, "started_at": now - 1,
        "worker": "w1@host", "runtime": 1.0, "error_type": "CardError", "error_message": message,
        "traceback": TRACEBACK.format(line=line, message=message), "result": '{"exc_type": "CardError"}',
    }  # fmt: skip
    return Event(**{**defaults, **values})


def fail(*, message: str = "declined", error: str = "CardError", line: int = 12, **values: Any) -> Task:
    """A task that gave up, with its dead letter."""
    task = queued(**values)
    apply([failure(task, message=message, line=line, error_type=error)])
    task.refresh_from_db()
    return task


def succeed(task_id: Any) -> None:
    """Report the success of a task."""
    apply([Event(task_id=str(task_id), status=Status.SUCCESS, at=time.time(), started_at=time.time(), result="1")])
