"""Workers for pages and the API: their newest heartbeat, their tasks, and their state."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID
from zenith_worker.wire.heartbeat import WorkerBeat, read_all
from zenith_worker.wire.states import Status

#: The most tasks shown of all workers together.
MAX_TASKS: Final = 2000


class WorkerState(StrEnum):
    """The state of a worker."""

    ONLINE = "online"
    DRAINING = "draining"
    DRAINED = "drained"
    OFFLINE = "offline"

    @property
    def sentence(self) -> str:
        """What the state means, for people."""
        return _SENTENCES[self]


_SENTENCES: Final = {
    WorkerState.ONLINE: "Online and accepting tasks.",
    WorkerState.DRAINING: "Accepts no more tasks and finishes those it has.",
    WorkerState.DRAINED: "Accepts no more tasks and has none left.",
    WorkerState.OFFLINE: "No recent heartbeat; removed from the list five minutes after the last one.",
}


@dataclass(frozen=True, slots=True)
class CurrentTask:
    """A task that a worker has reserved or runs."""

    id: UUID
    name: str
    queue: str
    status: Status
    attempt: int
    started_at: datetime | None
    celery_id: str


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker."""

    beat: WorkerBeat
    tasks: list[CurrentTask]

    @property
    def state(self) -> WorkerState:
        """The worker's state."""
        if not self.beat.online:
            return WorkerState.OFFLINE
        if self.beat.queues or self.beat.withheld:
            return WorkerState.ONLINE
        return WorkerState.DRAINING if self.beat.held else WorkerState.DRAINED

    @property
    def started_at(self) -> datetime | None:
        """When the worker started, by its own clock."""
        return None if self.beat.started_at is None else datetime.fromtimestamp(self.beat.started_at, tz=UTC)

    @property
    def uptime_seconds(self) -> float | None:
        """How long the worker has run; its clock and ours may disagree."""
        if self.beat.started_at is None:
            return None
        return max(0.0, self.beat.heartbeat_at.timestamp() - self.beat.started_at)


def workers() -> list[WorkerView]:
    """Return every worker with a recent heartbeat, by name; one query. Raises redis.RedisError."""
    return _views(read_all())


def workers_of(application: Application) -> list[WorkerView]:
    """Return the workers of an application with a recent heartbeat, by name; one query. Raises redis.RedisError."""
    return _views(read_all(application.key_name), application.pk)


def find(name: str) -> WorkerView | None:
    """Return one worker, or None if it has no recent heartbeat. Raises redis.RedisError."""
    return next(iter(_views(beat for beat in read_all() if beat.name == name)), None)


def tasks_of(name: str, limit: int) -> list[Task]:
    """Return a worker's newest tasks, its current ones first, without arguments. Two queries."""
    own_tasks = Task.objects.filter(worker=name, application=NATIVE_ID).defer("args", "kwargs").order_by("-created_at", "-id")
    held = list(own_tasks.filter(status__in=(Status.STARTED, Status.RECEIVED))[:limit])
    ended = own_tasks.exclude(id__in=[task.id for task in held])[: limit - len(held)]
    return [*held, *ended]


def _views(beats: Iterable[WorkerBeat], application: int = NATIVE_ID) -> list[WorkerView]:
    beats = list(beats)
    if not beats:
        return []
    tasks: dict[str, list[CurrentTask]] = defaultdict(list)
    # Few tasks are in these two statuses: at most one for each slot, and those that workers have reserved.
    held = Task.objects.filter(
        status__in=(Status.STARTED, Status.RECEIVED), worker__in=[beat.name for beat in beats], application=application
    )
    fields = ("id", "text_id", "name", "queue", "status", "position", "started_at", "worker")
    for task in held.only(*fields).order_by("id")[:MAX_TASKS]:
        values = (task.id, task.name, task.queue, Status(task.status), task.attempt, task.started_at, task.celery_id)
        tasks[task.worker].append(CurrentTask(*values))
    return [WorkerView(beat, tasks[beat.name]) for beat in beats]
