"""What nodes need to know about tasks, workers and queues, read through tasks_app."""

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
class WorkerHeartbeat:
    """A worker's newest heartbeat."""

    name: str
    online: bool
    queues: tuple[str, ...]
    slots: int
    busy: int
    held: int
    started_at: float | None


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """A task that a worker runs, holds or ran."""

    id: UUID
    name: str
    queue: str
    status: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueuePressure:
    """How busy a queue is. Rates are per second; None if not known yet."""

    name: str
    waiting: int
    oldest_seconds: float | None
    rate_in: float | None
    rate_out: float
    consumers: tuple[str, ...]
    paused: bool


def worker_heartbeats() -> dict[str, WorkerHeartbeat]:
    """Return the latest heartbeat of every recently seen worker, by name. Raises redis.RedisError."""
    return {
        latest.name: WorkerHeartbeat(
            name=latest.name, online=latest.online, queues=latest.queues, slots=latest.slots, busy=latest.busy,
            held=len(latest.held), started_at=latest.started_at,
        )
        for latest in heartbeat.read_all()
    }  # fmt: skip


def tasks_of(worker: str, limit: int) -> list[WorkerTask]:
    """Return a worker's newest tasks, running ones first. Raises django.db.Error."""
    return [
        WorkerTask(task.id, task.name, task.queue, task.status, task.started_at, task.finished_at)
        for task in workers.tasks_of(worker, limit)
    ]


def pressure(queue: str) -> QueuePressure:
    """Return how busy a queue is. Raises redis.RedisError or django.db.Error."""
    view = queues.view(queue)
    return QueuePressure(
        name=queue, waiting=view.now.depth + view.held, oldest_seconds=view.now.oldest_seconds,
        rate_in=None if view.rate_in is None else view.rate_in / _MINUTE, rate_out=view.rate_out / _MINUTE,
        consumers=tuple(view.consumers), paused=view.pause is not None,
    )  # fmt: skip


def drain(worker: str) -> None:
    """Tell a worker to stop accepting tasks. Raises StateConflictError if it cannot be reached."""
    try:
        control.drain(worker)
    except (WorkerUnknownError, WorkerSilentError) as error:
        raise StateConflictError(str(error)) from error
