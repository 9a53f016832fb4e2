"""What nodes need to know of tasks, workers and queues, as tasks_app tells it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from tasks_app.control import workers as control
from tasks_app.errors import WorkerSilentError, WorkerUnknownError
from tasks_app.queries import queues, workers
from zenith_site.common.errors import StateConflictError
from zenith_worker.wire import heartbeat

_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker's newest heartbeat."""

    name: str
    online: bool
    queues: tuple[str, ...]
    slots: int
    busy: int
    held: int
    started_at: float | None


@dataclass(frozen=True, slots=True)
class WorkSeen:
    """A task that a worker has or had."""

    id: UUID
    name: str
    queue: str
    status: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueuePressure:
    """How a queue stands. Rates are per second; None where nothing is known of them yet."""

    name: str
    waiting: int
    oldest_seconds: float | None
    rate_in: float | None
    rate_out: float
    consumers: tuple[str, ...]
    paused: bool


def beats() -> dict[str, Beat]:
    """Return the newest heartbeat of every worker heard of lately, by name. Raises redis.RedisError."""
    return {
        beat.name: Beat(
            name=beat.name, online=beat.online, queues=beat.queues, slots=beat.slots, busy=beat.busy, held=len(beat.held),
            started_at=beat.started_at,
        )
        for beat in heartbeat.read_all()
    }  # fmt: skip


def tasks_of(worker: str, limit: int) -> list[WorkSeen]:
    """Return the newest tasks of a worker, those that run first. Raises django.db.Error."""
    return [
        WorkSeen(task.id, task.name, task.queue, task.status, task.started_at, task.finished_at)
        for task in workers.tasks_of(worker, limit)
    ]


def pressure(queue: str) -> QueuePressure:
    """Return how a queue stands. Raises redis.RedisError or django.db.Error."""
    view = queues.view(queue)
    return QueuePressure(
        name=queue, waiting=view.now.depth + view.held, oldest_seconds=view.now.oldest_seconds,
        rate_in=None if view.rate_in is None else view.rate_in / _MINUTE, rate_out=view.rate_out / _MINUTE,
        consumers=tuple(view.consumers), paused=view.pause is not None,
    )  # fmt: skip


def drain(worker: str) -> None:
    """Tell a worker to take nothing more. Raises StateConflictError if it cannot be told."""
    try:
        control.drain(worker)
    except (WorkerUnknownError, WorkerSilentError) as error:
        raise StateConflictError(str(error)) from error
