"""The facts about workers that their heartbeats and the rows of their tasks tell."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from django.utils import timezone

from tasks_app.diagnosis.facts import HeldTasks, LostTasks, RunningTask, SettingsFacts, WorkerFacts
from tasks_app.models import Application, Task
from zenith_worker.wire.client import client
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status
from zenith_worker.wire.worker_settings import WorkerSettings

#: The most tasks at workers that are read, and running ones of which the worker is looked up.
MOST_HELD: Final = 2_000
MOST_RUNNING: Final = 10_000
#: Seconds that a task has run for before its worker counts as gone: heartbeats since then must have arrived.
SETTLED_AFTER: Final = 15.0

_T = TypeVar("_T")


class TasksOfWorker(NamedTuple):
    """What a worker runs, and for how many seconds its oldest reserved task has waited to start."""

    running: tuple[RunningTask, ...]
    oldest_reserved: float | None


_NOTHING: Final = TasksOfWorker((), None)


def tasks_at(application: Application, beats: Sequence[WorkerBeat]) -> dict[str, TasksOfWorker]:
    """Return what each worker online runs and has reserved, as rows and its heartbeat agree. One query."""
    held = {beat.name: frozenset(beat.held) for beat in beats if beat.online}
    rows = Task.objects.filter(
        status__in=(Status.STARTED, Status.RECEIVED), worker__in=held, application=application.pk
    ).order_by()  # fmt: skip
    running: dict[str, list[RunningTask]] = defaultdict(list)
    reserved: dict[str, list[float]] = defaultdict(list)
    now = timezone.now()
    for task in rows.only("id", "text_id", "name", "status", "worker", "started_at", "received_at")[:MOST_HELD]:
        if task.celery_id not in held[task.worker]:
            continue  # its outcome is not recorded yet, or its report was lost
        if task.status == Status.STARTED:
            running[task.worker].append(RunningTask(task.name, _since(task.started_at, now)))
        else:
            reserved[task.worker].append(_since(task.received_at, now))
    return {name: TasksOfWorker(tuple(running[name]), max(reserved[name], default=None)) for name in held}


def worker_facts(beats: Sequence[WorkerBeat], tasks: dict[str, TasksOfWorker] | None) -> tuple[WorkerFacts, ...]:
    """Return the facts about workers. Raises redis.RedisError."""
    now = _redis_time()
    return tuple(_worker(beat, None if tasks is None else tasks.get(beat.name, _NOTHING), now) for beat in beats)


def _worker(beat: WorkerBeat, tasks: TasksOfWorker | None, redis_now: float) -> WorkerFacts:
    told = _Told(beat)
    holds = told("limited", beat.limited) is not None and told("not_yet", beat.not_yet) is not None
    return WorkerFacts(
        name=beat.name,
        online=beat.online,
        heard_seconds=beat.heartbeat_age,
        pool=beat.pool,
        slots=told("slots", beat.slots),
        busy=told("busy", beat.busy),
        queues=told("queues", frozenset(beat.queues)),
        withheld=frozenset(beat.withheld),
        prefetch=told("prefetch", beat.prefetch),
        messages=told("held", _messages(beat)),
        limited=told("limited", tuple(HeldTasks(*kind) for kind in beat.limited)),
        not_yet=told("not_yet", tuple(HeldTasks(*kind) for kind in beat.not_yet)),
        version=beat.version,
        clock_ahead=None if beat.clock is None else told("clock", beat.clock - (redis_now - beat.heartbeat_age)),
        running=None if tasks is None else tasks.running,
        # A reserved task may wait for its limit or its ETA, unless those are told apart.
        stalled_seconds=tasks.oldest_reserved if tasks is not None and holds else None,
        settings=_settings(beat.settings),
    )


class _Told:
    """Which fields of a heartbeat hold what the worker told. An observer from outside knows fewer than the worker itself."""

    #: What no observer can tell apart: why tasks wait in a worker, and its clock from the way of its message.
    _UNOBSERVED: Final = frozenset({"limited", "not_yet", "clock"})

    def __init__(self, beat: WorkerBeat) -> None:
        unknown = frozenset(beat.unknown)
        self._unknown = unknown | self._UNOBSERVED if beat.watched else unknown

    def __call__(self, field: str, value: _T) -> _T | None:
        """Return a field's value, or None if it was not told."""
        return None if field in self._unknown else value


def _messages(beat: WorkerBeat) -> int:
    """Return how many messages a worker has taken: Celery reserves tasks that wait for a limit or an ETA only afterwards."""
    waiting = sum(kind.number for kind in (*beat.limited, *beat.not_yet))
    return max(len(beat.tags), len(beat.held) + waiting)


def _settings(told: WorkerSettings | None) -> SettingsFacts | None:
    if told is None:
        return None
    return SettingsFacts(
        acks_late=told.acks_late, time_limit=told.time_limit, soft_time_limit=told.soft_time_limit,
        prefetch_multiplier=told.prefetch_multiplier,
    )  # fmt: skip


def lost_tasks(application: Application, beats: Sequence[WorkerBeat]) -> tuple[LostTasks, ...]:
    """Return the tasks that were running on workers which are gone, by worker. One query."""
    alive = {beat.name for beat in beats if not beat.dead}
    now = timezone.now()
    rows = Task.objects.filter(application=application.pk, status=Status.STARTED).order_by("-created_at")
    numbers: dict[tuple[str, bool], int] = defaultdict(int)
    for worker, early, started_at in rows.values_list("worker", "acks_early", "started_at")[:MOST_RUNNING]:
        if worker and worker not in alive and _since(started_at, now) > SETTLED_AFTER:
            numbers[worker, early] += 1
    return tuple(LostTasks(worker, number, early) for (worker, early), number in sorted(numbers.items()))


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _redis_time() -> float:
    seconds, microseconds = client().time()
    return float(seconds) + float(microseconds) / 1e6
