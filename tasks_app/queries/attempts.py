"""Every run of one task: failed runs, runs lost with their worker, and the run that the task's row shows."""

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

    `attempt` counts from 1, `delivery` how often the attempt had been delivered before, `nesting` how often the task had
    replaced itself; `due_at` is when the next run was to start. `cpu` are its CPU seconds, and `memory` the most bytes that its
    process had meanwhile, as far as that is known. A lost run has the status QUEUED, and `error_message` says why it was lost.
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
    cpu: float | None = None
    memory: int | None = None
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""

    @property
    def value(self) -> str:
        """The name under which values.py returns its traceback."""
        return f"traceback-{self.nesting}-{self.attempt}-{self.delivery}"

    @property
    def seconds(self) -> float | None:
        """How long the run took, by its worker's clock."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


def attempts_of(task: Task, events: Iterable[TaskEvent] = ()) -> list[AttemptView]:
    """Return a task's runs, newest first, with secrets masked. One query, or none if no worker has received the task yet.

    `events` are the task's: they show the runs that were lost with a process or a worker, whose end nobody reported.
    """
    if task.position <= position(0, 0, Status.QUEUED):
        return []
    views = [_from_row(row) for row in Attempt.objects.filter(task=task)]
    if (current := _from_task(task)) is not None:
        views.append(current)
    by_run: dict[tuple[int, int, int], AttemptView] = {}
    for view in (*views, *_lost_runs(events)):
        by_run.setdefault((view.nesting, view.attempt, view.delivery), view)
    return [view for _, view in sorted(by_run.items(), reverse=True)]


def _lost_runs(events: Iterable[TaskEvent]) -> Iterator[AttemptView]:
    """Yield the deliveries that a worker received but whose message went back to its queue."""
    steps_by_run: dict[tuple[int, int, int], dict[Status, TaskEvent]] = defaultdict(dict)
    for event in events:
        if event.position >= 0:  # negative positions are notes
            key = (nesting_of(event.position), event.attempt, delivery_of(event.position))
            steps_by_run[key][Status(event.status)] = event
    for (nesting, attempt, delivery), steps in steps_by_run.items():
        requeued = steps_by_run.get((nesting, attempt, delivery + 1), {}).get(Status.QUEUED)
        received, started = steps.get(Status.RECEIVED), steps.get(Status.STARTED)
        if requeued is not None and (last := started or received) is not None:
            yield AttemptView(
                nesting=nesting, attempt=attempt, delivery=delivery, status=Status.QUEUED, worker=last.worker,
                received_at=received.at if received else None, started_at=started.at if started else None,
                finished_at=requeued.at, error_message=mask_text(requeued.message),
            )  # fmt: skip


def _from_row(row: Attempt) -> AttemptView:
    return AttemptView(
        nesting=row.nesting, attempt=row.attempt, delivery=row.delivery, status=row.outcome, worker=row.worker,
        received_at=row.received_at, started_at=row.started_at, finished_at=row.finished_at, due_at=row.due_at,
        cpu=row.cpu, memory=row.memory,
        error_type=row.error_type, error_message=mask_text(row.error_message), traceback=mask_text(row.traceback),
    )  # fmt: skip


def _from_task(task: Task) -> AttemptView | None:
    """Return the run that the task's row shows, or None if no worker has received it."""
    status = Status(task.status)
    if task.received_at is None and task.started_at is None:
        return None
    return AttemptView(
        nesting=nesting_of(task.position), attempt=task.attempt, delivery=delivery_of(task.position), status=status,
        worker=task.worker, received_at=task.received_at, started_at=task.started_at,
        finished_at=task.finished_at if status in TERMINAL else None, cpu=task.cpu, memory=task.memory,
        error_type=task.error_type, error_message=mask_text(task.error_message),
    )  # fmt: skip
