"""Workers for pages and the API: their newest heartbeat, their tasks, and their state."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID, Visible, of_visible
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.heartbeat import WorkerBeat, read_all, read_several
from zenith_worker.wire.keys import NATIVE
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
    """One worker of an application, which is named."""

    beat: WorkerBeat
    tasks: list[CurrentTask]
    application: str = NATIVE_NAME

    @property
    def state(self) -> WorkerState:
        """The worker's state."""
        if not self.beat.online:
            return WorkerState.OFFLINE
        if self.beat.queues or self.beat.withheld or "queues" in self.beat.unknown:
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


def workers(application: str = NATIVE_NAME) -> list[WorkerView]:
    """Return every worker of the application with this name that has a recent heartbeat, by name.

    One query, and one for an application besides Zenith's own; none of an unknown one. Raises redis.RedisError.
    """
    row = Application.named(application)
    return workers_of(row) if row else []


def all_workers(visible: Visible = None) -> list[WorkerView]:
    """Return the workers of the applications that a caller may see, Zenith's own first; three queries at most.

    Raises redis.RedisError.
    """
    attached = list(Application.objects.filter(of_visible(visible, "id")).exclude(id=NATIVE_ID).order_by("name"))
    has_own = visible is None or NATIVE_NAME in visible
    beats = read_several([*([NATIVE] if has_own else []), *(row.key_name for row in attached)])
    own = [(Application.native(), beat) for beat in beats.get(NATIVE, ())]
    # Zenith's own tasks are read apart, so that the tasks of a busy application leave none of them out.
    return _views(own) + _views([(row, beat) for row in attached for beat in beats[row.key_name]])


def workers_of(application: Application) -> list[WorkerView]:
    """Return the workers of an application with a recent heartbeat, by name; one query. Raises redis.RedisError."""
    return _views([(application, beat) for beat in read_all(application.key_name)])


def find(name: str, application: str = NATIVE_NAME) -> WorkerView | None:
    """Return one worker of an application, or None if it has no recent heartbeat. Raises redis.RedisError."""
    row = Application.named(application)
    beats = [beat for beat in read_all(row.key_name) if beat.name == name] if row else []
    return next(iter(_views([(row, beat) for beat in beats if row])), None)


def tasks_of(name: str, limit: int) -> list[Task]:
    """Return a worker's newest tasks, its current ones first, without arguments. Two queries."""
    own_tasks = Task.objects.filter(worker=name, application=NATIVE_ID).defer("args", "kwargs").order_by("-created_at", "-id")
    held = list(own_tasks.filter(status__in=(Status.STARTED, Status.RECEIVED))[:limit])
    ended = own_tasks.exclude(id__in=[task.id for task in held])[: limit - len(held)]
    return [*held, *ended]


def _views(found: Sequence[tuple[Application, WorkerBeat]]) -> list[WorkerView]:
    if not found:
        return []
    tasks = _held({row.pk for row, _ in found}, [beat.name for _, beat in found])
    return [WorkerView(beat, tasks[row.pk, beat.name], row.name) for row, beat in found]


def _held(applications: Iterable[int], workers: Sequence[str]) -> dict[tuple[int, str], list[CurrentTask]]:
    """Return the tasks that workers have reserved or run, by application and worker. One query."""
    # Few tasks are in these two statuses: at most one for each slot, and those that workers have reserved.
    held = Task.objects.filter(
        status__in=(Status.STARTED, Status.RECEIVED), worker__in=workers, application__in=sorted(applications)
    )
    fields = ("id", "text_id", "name", "queue", "status", "position", "started_at", "worker", "application")
    tasks: dict[tuple[int, str], list[CurrentTask]] = defaultdict(list)
    for task in held.only(*fields).order_by("id")[:MAX_TASKS]:
        values = (task.id, task.name, task.queue, Status(task.status), task.attempt, task.started_at, task.celery_id)
        tasks[task.application_id or NATIVE_ID, task.worker].append(CurrentTask(*values))
    return tasks
