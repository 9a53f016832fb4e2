"""The workers as people look at them: their newest heartbeat, what they run, and whether they take more."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from tasks_app.models import Task
from zenith_worker.wire.heartbeat import WorkerBeat, read_all
from zenith_worker.wire.states import Status

#: Tasks shown of all workers together.
MAX_TASKS: Final = 2000


class WorkerState(StrEnum):
    """How a worker is."""

    ONLINE = "online"
    DRAINING = "draining"
    DRAINED = "drained"
    OFFLINE = "offline"

    @property
    def sentence(self) -> str:
        """What it means."""
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
        """How it is."""
        if not self.beat.online:
            return WorkerState.OFFLINE
        if self.beat.queues or self.beat.withheld:
            return WorkerState.ONLINE
        return WorkerState.DRAINING if self.beat.held else WorkerState.DRAINED

    @property
    def started_at(self) -> datetime | None:
        """When it started, by its own clock."""
        return None if self.beat.started_at is None else datetime.fromtimestamp(self.beat.started_at, tz=UTC)

    @property
    def uptime_seconds(self) -> float | None:
        """For how long it has run; its clock and ours may disagree."""
        if self.beat.started_at is None:
            return None
        return max(0.0, self.beat.heartbeat_at.timestamp() - self.beat.started_at)


def workers() -> list[WorkerView]:
    """Return every worker heard of lately, by name; one query. Raises redis.RedisError."""
    return _views(read_all())


def find(name: str) -> WorkerView | None:
    """Return one worker; None where none of this name was heard of lately. Raises redis.RedisError."""
    return next(iter(_views(beat for beat in read_all() if beat.name == name)), None)


def tasks_of(name: str, limit: int) -> list[Task]:
    """Return a worker's newest tasks, those that it has now first, without arguments. Two queries."""
    mine = Task.objects.filter(worker=name).defer("args", "kwargs").order_by("-created_at", "-id")
    held = list(mine.filter(status__in=(Status.STARTED, Status.RECEIVED))[:limit])
    ended = mine.exclude(id__in=[task.id for task in held])[: limit - len(held)]
    return [*held, *ended]


def _views(beats: Iterable[WorkerBeat]) -> list[WorkerView]:
    found = list(beats)
    if not found:
        return []
    tasks: dict[str, list[CurrentTask]] = defaultdict(list)
    # Few tasks are in these two statuses: no more than all workers have slots, and as many reserved.
    held = Task.objects.filter(status__in=(Status.STARTED, Status.RECEIVED), worker__in=[beat.name for beat in found])
    fields = ("id", "text_id", "name", "queue", "status", "position", "started_at", "worker")
    for task in held.only(*fields).order_by("id")[:MAX_TASKS]:
        shown = (task.id, task.name, task.queue, Status(task.status), task.attempt, task.started_at, task.celery_id)
        tasks[task.worker].append(CurrentTask(*shown))
    return [WorkerView(beat, tasks[beat.name]) for beat in found]
