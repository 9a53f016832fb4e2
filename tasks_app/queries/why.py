"""Why a task is where it is, in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import redis
from django.db.models import Sum
from django.utils import timezone

from tasks_app.models import MinuteRollup, Task
from tasks_app.models.places import Place
from tasks_app.search.parser import Choice, Search
from tasks_app.search.planner import find
from zenith_worker.wire import heartbeat, pauses
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status

#: Queued tasks counted before it is said that there are more.
MAX_COUNTED: Final = 10_000
#: Over which the speed of a queue is measured.
WINDOW: Final = timedelta(minutes=5)
_NEEDS_WORKERS: Final = (Status.PENDING, Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the sentence is made from.

    Attributes:
        workers: those heard of lately; None where Redis does not answer.
        paused: whether the queue is paused.
        ahead: older tasks that wait in the same queue, up to MAX_COUNTED + 1.
        per_second: tasks of that queue that ended per second.
    """

    now: datetime
    workers: Sequence[WorkerBeat] | None = ()
    paused: bool = False
    ahead: int = 0
    per_second: float = 0.0


def why(task: Task) -> str:
    """Return the sentence, from three queries at most and the workers' heartbeats."""
    return explain(task, gather(task))


def gather(task: Task) -> Facts:
    """Return what is known about whatever a task waits for."""
    now = timezone.now()
    if task.status not in _NEEDS_WORKERS:
        return Facts(now=now)
    try:
        workers: list[WorkerBeat] | None = heartbeat.read_all()
        paused = task.queue in pauses.read()
    except redis.RedisError:
        workers, paused = None, False
    if task.status != Status.QUEUED or paused:
        return Facts(now=now, workers=workers, paused=paused)
    waiting = Search(statuses=frozenset({Status.QUEUED}), queues=(Choice(task.queue),))
    ahead = len(find(waiting, Place(task.created_at, task.id), MAX_COUNTED + 1).ids)
    ended = MinuteRollup.objects.filter(queue=task.queue, minute__gt=now - WINDOW).aggregate(
        done=Sum("succeeded", default=0) + Sum("failed", default=0)
    )
    return Facts(now=now, workers=workers, ahead=ahead, per_second=ended["done"] / WINDOW.total_seconds())


def explain(task: Task, facts: Facts) -> str:
    """Return the sentence."""
    if task.cancel_requested_at and not task.is_finished:
        return "Its cancellation was asked for, and is being carried out."
    match Status(task.status):
        case Status.SCHEDULED:
            return f"It is held until it is due, {_in(task.not_before, facts.now)}."
        case Status.PENDING | Status.QUEUED if facts.paused:
            return f"The queue {task.queue} is paused; it goes on once somebody resumes that."
        case Status.PENDING:
            return "Its message is about to be put on the broker; where that is away, once it answers again."
        case Status.QUEUED:
            return _queued(task, facts)
        case Status.RECEIVED:
            return _at_worker(task, facts, "has reserved it, and runs other tasks first")
        case Status.STARTED:
            return _at_worker(task, facts, f"has been running it for {_span(_since(task.started_at, facts.now))}")
        case Status.RETRY:
            return _retrying(task, facts)
        case Status.SUCCESS:
            return "It returned" + (f" after {_span(task.runtime)}." if task.runtime is not None else ".")
        case Status.FAILURE:
            return f"It gave up after attempt {task.attempt}: {task.error_type or 'the reason is not known'}."
        case Status.REVOKED:
            return "It ended before it finished: it was cancelled, or will not run for the reason that its timeline gives."
        case Status.IGNORED:
            return "Its body raised Ignore: it ran, and there is no outcome."
        case Status.REPLACED:
            return "It sent other tasks in its place; the last of them brings its outcome."


def _queued(task: Task, facts: Facts) -> str:
    if facts.workers is None:
        return f"It waits in the queue {task.queue}; the broker does not answer, so nobody knows which workers are there."
    serving = [worker for worker in facts.workers if worker.online and task.queue in worker.queues]
    if not serving:
        return f"No worker consumes the queue {task.queue}."
    if facts.ahead == 0:
        free = any(worker.busy < worker.slots for worker in serving)
        return f"It is the next in the queue {task.queue}" + ("." if free else "; every worker there is busy.")
    more = "more than " if facts.ahead > MAX_COUNTED else ""
    wait = f", about {_span(facts.ahead / facts.per_second)}" if facts.per_second else ""
    return f"It waits behind {more}{min(facts.ahead, MAX_COUNTED):,} others in the queue {task.queue}{wait}."


def _retrying(task: Task, facts: Facts) -> str:
    error = f" with {task.error_type}" if task.error_type else ""
    allowed = f" of {task.attempts_allowed}" if task.attempts_allowed else ""
    starts = f"attempt {task.attempt + 1}{allowed} starts {_in(task.not_before, facts.now)}"
    said = f"Attempt {task.attempt} failed{error}; {starts}."
    if facts.workers is None:
        return said
    serving = [worker for worker in facts.workers if worker.online and task.queue in worker.queues]
    if not serving:
        return f"{said} No worker consumes its queue {task.queue}."
    free = sum(max(0, worker.slots - worker.busy) for worker in serving)
    workers = "One worker consumes" if len(serving) == 1 else f"{len(serving)} workers consume"
    return f"{said} {workers} its queue {task.queue}, {free} slot{'' if free == 1 else 's'} free."


def _at_worker(task: Task, facts: Facts, does: str) -> str:
    worker = next((beat for beat in facts.workers or () if beat.name == task.worker), None)
    if facts.workers is not None and (worker is None or not worker.online):
        return f"{task.worker or 'Its worker'} has not been heard from lately; if it died, another worker gets the task."
    return f"{task.worker or 'A worker'} {does}."


def _in(moment: datetime | None, now: datetime) -> str:
    seconds = (moment - now).total_seconds() if moment else 0.0
    return f"in {_span(seconds)}" if seconds >= 1 else "now"


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _span(seconds: float) -> str:
    """Return a span of time with one unit: 250 ms, 12 s, 5 min, 3 h, 4 d."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit, limit in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
