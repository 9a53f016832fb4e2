"""Every run of one task: those that went wrong, those that were lost with their worker, and the one that its row shows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from tasks_app.models import Attempt, Task, TaskEvent
from zenith_site.common.masking import mask_text
from zenith_worker.wire.states import TERMINAL, Status, delivery_of, nesting_of, position


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One run of a task.

    `attempt` counts from 1, `delivery` how often it had been handed out before, `nesting` how often the task had replaced itself;
    `due_at` is when the next one was to begin. One that was lost is QUEUED again: `error_message` says why.
    """

    nesting: int = 0
    attempt: int
    delivery: int
    status: str
    worker: str
    received_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None = None
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""

    @property
    def value(self) -> str:
        """By which name values.py has its traceback."""
        return f"traceback-{self.nesting}-{self.attempt}-{self.delivery}"

    @property
    def seconds(self) -> float | None:
        """How long it ran, by its worker's clock."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


def attempts_of(task: Task, events: Iterable[TaskEvent] = ()) -> list[AttemptView]:
    """Return a task's runs, the newest first and without secrets, in one query; in none where no worker had it yet.

    `events` are the task's, which tell of the runs that were lost with a process or a worker: nobody reported their end.
    """
    if task.position <= position(0, 0, Status.QUEUED):
        return []
    views = [_from_row(row) for row in Attempt.objects.filter(task=task)]
    if (current := _from_task(task)) is not None:
        views.append(current)
    kept: dict[tuple[int, int, int], AttemptView] = {}
    for view in (*views, *_lost(events)):
        kept.setdefault((view.nesting, view.attempt, view.delivery), view)
    return [view for _, view in sorted(kept.items(), reverse=True)]


def _lost(events: Iterable[TaskEvent]) -> Iterator[AttemptView]:
    """Yield the deliveries that a worker had and whose message went back to its queue."""
    told: dict[tuple[int, int, int], dict[Status, TaskEvent]] = defaultdict(dict)
    for event in events:
        if event.position >= 0:  # below stand notes
            key = (nesting_of(event.position), event.attempt, delivery_of(event.position))
            told[key][Status(event.status)] = event
    for (nesting, attempt, delivery), steps in told.items():
        back = told.get((nesting, attempt, delivery + 1), {}).get(Status.QUEUED)
        received, started = steps.get(Status.RECEIVED), steps.get(Status.STARTED)
        if back is not None and (last := started or received) is not None:
            yield AttemptView(
                nesting=nesting, attempt=attempt, delivery=delivery, status=Status.QUEUED, worker=last.worker,
                received_at=received.at if received else None, started_at=started.at if started else None, finished_at=back.at,
                error_message=mask_text(back.message),
            )  # fmt: skip


def _from_row(row: Attempt) -> AttemptView:
    return AttemptView(
        nesting=row.nesting, attempt=row.attempt, delivery=row.delivery, status=row.outcome, worker=row.worker,
        received_at=row.received_at, started_at=row.started_at, finished_at=row.finished_at, due_at=row.due_at,
        error_type=row.error_type, error_message=mask_text(row.error_message), traceback=mask_text(row.traceback),
    )  # fmt: skip


def _from_task(task: Task) -> AttemptView | None:
    """Return the run that the task's row shows; None where no worker has it, or had it."""
    status = Status(task.status)
    if task.received_at is None and task.started_at is None:
        return None
    return AttemptView(
        nesting=nesting_of(task.position), attempt=task.attempt, delivery=delivery_of(task.position), status=status,
        worker=task.worker, received_at=task.received_at, started_at=task.started_at,
        finished_at=task.finished_at if status in TERMINAL else None,
        error_type=task.error_type, error_message=mask_text(task.error_message),
    )  # fmt: skip
