"""Changing when a scheduled task is due, as long as it has not been sent."""

from datetime import datetime
from uuid import UUID

from tasks_app.models import Task
from tasks_app.states import Status


def reschedule(task_id: UUID, not_before: datetime) -> bool:
    """Move a SCHEDULED task to another time; return False where it is not (or no longer) scheduled.

    A relay that is sending the task holds its row's lock: this waits, and then finds it sent. A time
    that is past makes the task due at once.
    """
    return bool(Task.objects.filter(id=task_id, status=Status.SCHEDULED, cancel_requested_at=None).update(not_before=not_before))
