"""The result of a cancellation, and the event that revokes a task."""

import time
from dataclasses import dataclass

from tasks_app.models import Task
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.states import Status, delivery_of, nesting_of


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The result of a cancellation: how many tasks were revoked, are running, or had already ended.

    `requested`: how many cancellations were passed on to the tasks' applications, whose workers report what comes of them.
    `problems`: sentences about tasks that could not be cancelled, and about workers that did not do what they were told.
    """

    revoked: int
    running: int
    finished: int
    requested: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: "Cancelled") -> "Cancelled":
        return Cancelled(
            self.revoked + other.revoked, self.running + other.running, self.finished + other.finished,
            self.requested + other.requested, (*self.problems, *(text for text in other.problems if text not in self.problems)),
        )  # fmt: skip


def reason_of(by: str) -> str:
    """Return what the timeline says of a cancellation by this caller."""
    return f"cancelled by {by}" if by else "cancelled"


def revoked(task: Task, reason: str, application: str = NATIVE) -> Event:
    """Return the event that revokes a task, for the delivery that its row shows; `application` is its name in Redis."""
    return Event(
        task_id=task.celery_id, status=Status.REVOKED, at=time.time(), nesting=nesting_of(task.position),
        attempt=task.attempt - 1, delivery=delivery_of(task.position), message=reason, application=application,
    )  # fmt: skip
