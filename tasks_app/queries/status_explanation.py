"""Why a task is where it is, in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import redis
from django.utils import timezone

from tasks_app.models import Task
from tasks_app.models.places import Place
from tasks_app.queries.estimate import Estimate, estimate, work_before
from tasks_app.search.parser import FilterValue, Search
from tasks_app.search.planner import find, waiting_before
from zenith_worker.wire import broker_queues, heartbeat, pauses
from zenith_worker.wire.heartbeat import Waiting, WorkerBeat
from zenith_worker.wire.states import Status

#: Queued tasks counted before it is said that there are more.
MAX_COUNTED: Final = 10_000
#: Tasks that wait in a worker for their time, for each of its slots, from which on it is said that they have grown many.
MANY_NOT_YET: Final = 10
#: Seconds from which on a wait is told.
SHORTEST_WAIT: Final = 0.5
#: Workers of which it is said why they do not take it.
MOST_REASONS: Final = 2
_NEEDS_WORKERS: Final = (Status.PENDING, Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """What the sentence is made from.

    Attributes:
        workers: those heard of lately; None where Redis does not answer.
        paused: whether the queue is paused.
        ahead: older tasks that wait in the same queue, up to MAX_COUNTED + 1.
        wait: how long it will take until it begins; None where nobody can know.
        holder: the worker that has its message in its memory, for a rate limit or an ETA: Celery has not reserved it yet.
    """

    now: datetime
    workers: Sequence[WorkerBeat] | None = ()
    paused: bool = False
    ahead: int = 0
    wait: Estimate | None = None
    holder: WorkerBeat | None = None


def explain_status(task: Task) -> str:
    """Return the sentence, from four queries at most and the workers' heartbeats."""
    return explain(task, gather(task))


def gather(task: Task) -> TaskContext:
    """Return what is known about whatever a task waits for."""
    now = timezone.now()
    if task.status not in _NEEDS_WORKERS:
        return TaskContext(now=now)
    try:
        workers = heartbeat.read_all()
        paused = task.queue in pauses.read()
        holder = _holder(task, workers)
    except redis.RedisError:
        return TaskContext(now=now, workers=None)
    if task.status != Status.QUEUED or paused or holder:
        return TaskContext(now=now, workers=workers, paused=paused, holder=holder)
    before = waiting_before(Place(task.created_at, task.id), task.queue, MAX_COUNTED + 1)
    ahead = sum(before.values()) if before is not None else _counted_before(task)
    serving = _serving(task, workers)
    wait = estimate(work_before(before, serving, now)) if before is not None and ahead <= MAX_COUNTED and serving else None
    return TaskContext(now=now, workers=workers, ahead=ahead, wait=wait)


def _counted_before(task: Task) -> int:
    """Count what waits before a task where there are too many names to tell its kinds apart."""
    waiting = Search(statuses=frozenset({Status.QUEUED}), queues=(FilterValue(task.queue),))
    return len(find(waiting, Place(task.created_at, task.id), MAX_COUNTED + 1).places)


def _holder(task: Task, workers: Sequence[WorkerBeat]) -> WorkerBeat | None:
    """Return the worker in whose memory a queued task waits. Raises redis.RedisError."""
    # Asking the broker means reading all that workers hold: only where one says that such tasks wait in its memory.
    keeping = [beat for beat in workers if beat.online and any(kind.name == task.name for kind in (*beat.limited, *beat.not_yet))]
    if task.status != Status.QUEUED or not keeping:
        return None
    mine = {tag for tag, id_ in broker_queues.unacknowledged().items() if id_ == task.celery_id}
    return next((worker for worker in keeping if mine.intersection(worker.tags)), None)


def explain(task: Task, facts: TaskContext) -> str:
    """Return the sentence."""
    if task.cancel_requested_at and not task.is_finished:
        return "A cancellation was requested and is being carried out."
    match Status(task.status):
        case Status.SCHEDULED:
            return f"Scheduled; due {_in(task.not_before, facts.now)}."
        case Status.PENDING | Status.QUEUED if facts.paused:
            return f"The queue {task.queue} is paused; the task waits until the queue is resumed."
        case Status.PENDING:
            return "Its message is about to be sent. If the broker is unreachable, it is sent once the broker answers again."
        case Status.QUEUED:
            return _queued(task, facts)
        case Status.RECEIVED:
            return _reserved(task, facts)
        case Status.STARTED:
            return _at_worker(task, facts, f"has been running it for {_span(_since(task.started_at, facts.now))}")
        case Status.RETRY:
            return _retrying(task, facts)
        case Status.SUCCESS:
            return "Succeeded" + (f" after {_span(task.runtime)}." if task.runtime is not None else ".")
        case Status.FAILURE:
            return f"Failed after attempt {task.attempt}: {task.error_type or 'the reason is not known'}."
        case Status.REVOKED:
            return "Revoked: it was cancelled, or will not run for the reason given in its timeline."
        case Status.IGNORED:
            return "It ran and raised Ignore, so it has no outcome."
        case Status.REPLACED:
            return "It sent other tasks in its place; the last of them decides its outcome."


def _queued(task: Task, facts: TaskContext) -> str:
    if facts.workers is None:
        return f"Waiting in the queue {task.queue}. The broker is unreachable, so its workers are not known."
    if facts.holder is not None:
        return _held(task, facts.holder)
    serving = _serving(task, facts.workers)
    if not serving:
        return f"No worker consumes the queue {task.queue}."
    reasons = [reason for worker in serving if (reason := _takes_none(worker) or _takes_too_many(worker))]
    return " ".join([_place_in_queue(task, facts, serving), *reasons[:MOST_REASONS]])


def _held(task: Task, worker: WorkerBeat) -> str:
    limited = next((kind for kind in worker.limited if kind.name == task.name), None)
    if limited is not None:
        return f"{worker.name} holds it; {limited.number:,} of its kind {_waits(limited)}."
    return f"{worker.name} holds it until it is due: it was sent with an ETA or a countdown."


def _place_in_queue(task: Task, facts: TaskContext, serving: Sequence[WorkerBeat]) -> str:
    wait = ""
    if facts.wait is not None and facts.wait.seconds >= SHORTEST_WAIT:
        wait = f", {'at least' if facts.wait.at_least else 'about'} {_span(facts.wait.seconds)}"
    if facts.ahead:
        more = "more than " if facts.ahead > MAX_COUNTED else ""
        others = "1 other" if facts.ahead == 1 else f"{min(facts.ahead, MAX_COUNTED):,} others"
        return f"Waiting behind {more}{others} in the queue {task.queue}{wait}."
    free = any(worker.busy < worker.slots for worker in serving)
    return f"Next in the queue {task.queue}" + ("." if free else f"; all its workers are busy{wait}.")


def _takes_none(worker: WorkerBeat) -> str:
    """Say why a worker with free slots takes no message: others that wait in its memory use its prefetch up. Empty if it does."""
    if not worker.prefetch or len(worker.tags) < worker.prefetch or worker.busy >= worker.slots:
        return ""
    free = worker.slots - worker.busy
    slots = "1 free slot" if free == 1 else f"{free} free slots"
    told = f"{worker.name} has {slots}, but takes no more messages while it holds {worker.prefetch:,}"
    if not worker.limited:
        return f"{told}."
    kind = worker.limited[0]
    return f"{told}: {kind.number:,} of {kind.name} {_waits(kind)}."


def _takes_too_many(worker: WorkerBeat) -> str:
    """Say that a worker takes messages that others could run, because of those that wait in its memory for their time."""
    waiting = sum(kind.number for kind in worker.not_yet)
    if not worker.prefetch or waiting < MANY_NOT_YET * max(1, worker.slots):
        return ""
    return (
        f"{worker.name} holds {waiting:,} tasks that wait for their ETA, most of them {worker.not_yet[0].name}."
        f" Each raises its prefetch, now {worker.prefetch:,}, so it takes messages that other workers could run."
    )


def _waits(kind: Waiting) -> str:
    words = "waits there for its" if kind.number == 1 else "wait there for their"
    return f"{words} rate limit" + (f" of {kind.rate}" if kind.rate else "")


def _serving(task: Task, workers: Sequence[WorkerBeat]) -> list[WorkerBeat]:
    return [worker for worker in workers if worker.online and task.queue in worker.queues]


def _reserved(task: Task, facts: TaskContext) -> str:
    said = _at_worker(task, facts, "has reserved it and is running other tasks first")
    worker = next((beat for beat in facts.workers or () if beat.name == task.worker and beat.online), None)
    return " ".join(filter(None, (said, _takes_too_many(worker) if worker else "")))


def _retrying(task: Task, facts: TaskContext) -> str:
    error = f" with {task.error_type}" if task.error_type else ""
    allowed = f" of {task.attempts_allowed}" if task.attempts_allowed else ""
    starts = f"attempt {task.attempt + 1}{allowed} starts {_in(task.not_before, facts.now)}"
    said = f"Attempt {task.attempt} failed{error}; {starts}."
    if facts.workers is None:
        return said
    serving = _serving(task, facts.workers)
    if not serving:
        return f"{said} No worker consumes its queue {task.queue}."
    free = sum(max(0, worker.slots - worker.busy) for worker in serving)
    workers = "One worker consumes" if len(serving) == 1 else f"{len(serving)} workers consume"
    return f"{said} {workers} its queue {task.queue}, {free} slot{'' if free == 1 else 's'} free."


def _at_worker(task: Task, facts: TaskContext, does: str) -> str:
    worker = next((beat for beat in facts.workers or () if beat.name == task.worker), None)
    if facts.workers is not None and (worker is None or not worker.online):
        return f"{task.worker or 'Its worker'} has stopped sending heartbeats; if it died, another worker gets the task."
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
