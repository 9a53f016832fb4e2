"""The facts about workers that their heartbeats and the rows of their tasks tell."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from django.utils import timezone

from tasks_app.diagnosis.facts import HeldTasks, LostTasks, RunningTask, SettingsFacts, WorkerFacts
from tasks_app.models import Application, Task
from tasks_app.watching.heard_workers import HELD_KEPT
from zenith_worker.wire.client import client
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status
from zenith_worker.wire.worker_settings import WorkerSettings

#: The most tasks at workers that are read, and running ones of which the worker is looked up.
MOST_HELD: Final = 2_000
MOST_RUNNING: Final = 10_000
#: Seconds that a task has run for before its worker counts as gone: heartbeats since then must have arrived.
SETTLED_AFTER: Final = 15.0
#: Seconds after which a task that its worker received, and names nowhere, waits for its rate limit.
LIMITED_AFTER: Final = 2.0

_T = TypeVar("_T")


class TasksOfWorker(NamedTuple):
    """What a worker runs, and for how many seconds its oldest reserved task has waited to start.

    `limited`: those that wait for their rate limit, as an observer concludes.
    """

    running: tuple[RunningTask, ...]
    oldest_reserved: float | None
    limited: tuple[HeldTasks, ...] = ()


_NOTHING: Final = TasksOfWorker((), None)


def tasks_at(
    application: Application, beats: Sequence[WorkerBeat], limits: Mapping[str, str] | None = None
) -> dict[str, TasksOfWorker]:
    """Return what each worker online runs and has reserved, as rows and its heartbeat agree. One query.

    `limits`: the rate limits of a watched application's tasks. Celery's worker names those that wait for one nowhere, so they are
    the tasks that it received, has not started, and does not name.
    """
    held = {beat.name: frozenset(beat.held) for beat in beats if beat.online}
    rows = Task.objects.filter(
        status__in=(Status.STARTED, Status.RECEIVED), worker__in=held, application=application.pk
    ).order_by()  # fmt: skip
    running: dict[str, list[RunningTask]] = defaultdict(list)
    reserved: dict[str, list[float]] = defaultdict(list)
    limited: dict[str, Counter[str]] = defaultdict(Counter)
    now = timezone.now()
    for task in rows.only("id", "text_id", "name", "status", "worker", "started_at", "received_at", "not_before")[:MOST_HELD]:
        waited = _since(max(filter(None, (task.received_at, task.not_before)), default=None), now)
        if task.celery_id not in held[task.worker]:
            # Of another name, its outcome is not recorded yet, or its report was lost.
            if task.status == Status.RECEIVED and task.name in (limits or {}) and waited > LIMITED_AFTER:
                limited[task.worker][task.name] += 1
        elif task.status == Status.STARTED:
            running[task.worker].append(RunningTask(task.name, _since(task.started_at, now)))
        elif task.not_before is None or task.not_before <= now:
            reserved[task.worker].append(waited)
    return {
        name: TasksOfWorker(
            tuple(running[name]), max(reserved[name], default=None),
            tuple(HeldTasks(task, number, (limits or {})[task]) for task, number in limited[name].most_common()),
        )
        for name in held
    }  # fmt: skip


def worker_facts(
    beats: Sequence[WorkerBeat], tasks: dict[str, TasksOfWorker] | None, *, knows_limits: bool = False
) -> tuple[WorkerFacts, ...]:
    """Return the facts about workers; `knows_limits`: the rate limits of watched ones are known. Raises redis.RedisError."""
    now = _redis_time()
    return tuple(
        _worker(beat, None if tasks is None else tasks.get(beat.name, _NOTHING), now, knows_limits=knows_limits) for beat in beats
    )


def _worker(beat: WorkerBeat, tasks: TasksOfWorker | None, redis_now: float, *, knows_limits: bool) -> WorkerFacts:
    told = _Told(beat)
    not_yet = told("not_yet", tuple(HeldTasks(*kind) for kind in beat.not_yet))
    limited: tuple[HeldTasks, ...] | None = tuple(HeldTasks(*kind) for kind in beat.limited)
    if beat.watched:
        limited = tasks.limited if tasks is not None and knows_limits and told.names_all else None
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
        messages=_messages(beat, limited) if told.names_all else None,
        limited=limited,
        not_yet=not_yet,
        version=beat.version,
        clock_ahead=_clock_ahead(beat, redis_now),
        running=None if tasks is None else tasks.running,
        # A reserved task may wait for its limit or its ETA, unless those are told apart.
        stalled_seconds=None if tasks is None or not_yet is None or limited is None else tasks.oldest_reserved,
        settings=_settings(beat.settings),
        events=beat.sends_events,
    )


class _Told:
    """Which fields of a heartbeat hold what the worker told. An observer from outside knows fewer than the worker itself.

    Attributes:
        names_all: whether `held` names all of its tasks.
    """

    def __init__(self, beat: WorkerBeat) -> None:
        self._unknown = frozenset(beat.unknown)
        self.names_all = not beat.watched or ("held" not in self._unknown and len(beat.held) < HELD_KEPT)
        if beat.watched and "held" in self._unknown:
            self._unknown |= {"not_yet"}

    def __call__(self, field: str, value: _T) -> _T | None:
        """Return a field's value, or None if it was not told."""
        return None if field in self._unknown else value


def _messages(beat: WorkerBeat, limited: Sequence[HeldTasks] | None) -> int:
    """Return how many messages a worker has taken: Celery reserves tasks that wait for a limit or an ETA only afterwards."""
    limited_tasks = sum(kind.number for kind in limited or ())
    if beat.watched:
        return len(beat.tags) + limited_tasks
    return max(len(beat.tags), len(beat.held) + limited_tasks + sum(kind.number for kind in beat.not_yet))


def _clock_ahead(beat: WorkerBeat, redis_now: float) -> float | None:
    if beat.watched or beat.clock is None:
        return beat.clock_ahead
    return beat.clock - (redis_now - beat.heartbeat_age)


def _settings(told: WorkerSettings | None) -> SettingsFacts | None:
    if told is None:
        return None
    return SettingsFacts(
        acks_late=told.acks_late, time_limit=told.time_limit, soft_time_limit=told.soft_time_limit,
        prefetch_multiplier=told.prefetch_multiplier, sent_events=told.sent_events,
    )  # fmt: skip


def lost_tasks(
    application: Application, beats: Sequence[WorkerBeat], early_names: Iterable[str] = ()
) -> tuple[LostTasks, ...]:  # fmt: skip
    """Return the tasks that were running on workers which are gone, by worker. One query.

    `early_names`: the tasks of a watched application that are known to be acknowledged before they run. Of what began before
    nobody listened, the end may not have been heard.
    """
    alive = {beat.name for beat in beats if not beat.dead}
    now, names = timezone.now(), frozenset(early_names)
    rows = Task.objects.filter(application=application.pk, status=Status.STARTED).order_by("-created_at")
    unheard = max((gap[1] for gap in application.gaps if _is_gap(gap)), default=0.0) if application.is_watched else 0.0
    numbers: dict[tuple[str, bool], int] = defaultdict(int)
    for worker, name, early, started_at in rows.values_list("worker", "name", "acks_early", "started_at")[:MOST_RUNNING]:
        is_heard = started_at is not None and started_at.timestamp() > unheard
        if worker and worker not in alive and is_heard and _since(started_at, now) > SETTLED_AFTER:
            numbers[worker, early or name in names] += 1
    return tuple(LostTasks(worker, number, early) for (worker, early), number in sorted(numbers.items()))


def _is_gap(gap: Any) -> bool:
    return isinstance(gap, list) and len(gap) == 3 and isinstance(gap[1], int | float)


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _redis_time() -> float:
    seconds, microseconds = client().time()
    return float(seconds) + float(microseconds) / 1e6
