"""Explain in a sentence or two why a task is in its status."""

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
from zenith_site.common.humanize import rough_duration
from zenith_worker.wire import broker_queues, heartbeat, pauses
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.heartbeat import Waiting, WorkerBeat
from zenith_worker.wire.states import Status

#: Queued tasks are counted up to this; beyond it the sentence says "more than".
MAX_COUNTED: Final = 10_000
#: Tasks waiting for their ETA in a worker, for each of its slots, from which the sentence mentions them.
MANY_NOT_YET: Final = 10
#: The shortest wait in seconds that is mentioned.
SHORTEST_WAIT: Final = 0.5
#: Workers whose reason for not taking the task is given.
MOST_REASONS: Final = 2
_NEEDS_WORKERS: Final = (Status.PENDING, Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """What is known about whatever a task waits for.

    Attributes:
        workers: those with a recent heartbeat; None if Redis is unreachable.
        paused: whether the task's queue is paused.
        ahead: older tasks that wait in the same queue, up to MAX_COUNTED + 1.
        wait: the estimated time until the task starts; None if it cannot be estimated.
        holder: the worker that keeps the task's message in memory for a rate limit or an ETA, before Celery reserves it.
    """

    now: datetime
    workers: Sequence[WorkerBeat] | None = ()
    paused: bool = False
    ahead: int = 0
    wait: Estimate | None = None
    holder: WorkerBeat | None = None


def explain_status(task: Task) -> str:
    """Return the explanation of a task's status. Four queries at most, and the workers' heartbeats."""
    return explain(task, gather_context(task))


def gather_context(task: Task) -> TaskContext:
    """Read what `explain` needs to know about a task's queue and workers."""
    now = timezone.now()
    if task.status not in _NEEDS_WORKERS:
        return TaskContext(now=now)
    try:
        workers = heartbeat.read_all()
        paused = task.queue in pauses.read()
        holder = _find_holder(task, workers)
    except redis.RedisError:
        return TaskContext(now=now, workers=None)
    if task.status != Status.QUEUED or paused or holder:
        return TaskContext(now=now, workers=workers, paused=paused, holder=holder)
    ahead_by_name = waiting_before(Place(task.created_at, task.id), task.queue, MAX_COUNTED + 1)
    ahead = sum(ahead_by_name.values()) if ahead_by_name is not None else _count_ahead(task)
    consumers = _consumers(task, workers)
    wait = None
    if ahead_by_name is not None and ahead <= MAX_COUNTED and consumers:
        wait = estimate(work_before(ahead_by_name, consumers, now))
    return TaskContext(now=now, workers=workers, ahead=ahead, wait=wait)


def _count_ahead(task: Task) -> int:
    """Count the tasks that wait before one, if the queue has too many task names to count each."""
    waiting = Search(statuses=frozenset({Status.QUEUED}), queues=(FilterValue(task.queue),), application=NATIVE_NAME)
    return len(find(waiting, Place(task.created_at, task.id), MAX_COUNTED + 1).places)


def _find_holder(task: Task, workers: Sequence[WorkerBeat]) -> WorkerBeat | None:
    """Return the worker in whose memory a queued task waits. Raises redis.RedisError."""
    # Asking the broker means reading every unacknowledged message, so do it only if a worker reports such tasks in its memory.
    candidates = [
        beat for beat in workers if beat.online and any(kind.name == task.name for kind in (*beat.limited, *beat.not_yet))
    ]
    if task.status != Status.QUEUED or not candidates:
        return None
    tags = {tag for tag, id_ in broker_queues.unacknowledged().items() if id_ == task.celery_id}
    return next((worker for worker in candidates if tags.intersection(worker.tags)), None)


def explain(task: Task, context: TaskContext) -> str:
    """Return why a task is in its status, as a sentence or two for people."""
    if task.cancel_requested_at and not task.is_finished:
        return "A cancellation was requested and is being carried out."
    match Status(task.status):
        case Status.SCHEDULED:
            return f"Scheduled; due {_in(task.not_before, context.now)}."
        case Status.PENDING | Status.QUEUED if context.paused:
            return f"The queue {task.queue} is paused; the task waits until the queue is resumed."
        case Status.PENDING:
            return "Its message is about to be sent. If the broker is unreachable, it is sent once the broker answers again."
        case Status.QUEUED:
            return _queued(task, context)
        case Status.RECEIVED:
            return _reserved(task, context)
        case Status.STARTED:
            return _at_worker(task, context, f"has been running it for {rough_duration(_since(task.started_at, context.now))}")
        case Status.RETRY:
            return _retrying(task, context)
        case Status.SUCCESS:
            return "Succeeded" + (f" after {rough_duration(task.runtime)}." if task.runtime is not None else ".")
        case Status.FAILURE:
            return f"Failed after attempt {task.attempt}: {task.error_type or 'the reason is not known'}."
        case Status.REVOKED:
            return "Revoked: it was cancelled, or will not run for the reason given in its timeline."
        case Status.IGNORED:
            return "It ran and raised Ignore, so it has no outcome."
        case Status.REPLACED:
            return "It sent other tasks in its place; the last of them decides its outcome."


def _queued(task: Task, context: TaskContext) -> str:
    if context.workers is None:
        return f"Waiting in the queue {task.queue}. The broker is unreachable, so its workers are not known."
    if context.holder is not None:
        return _held(task, context.holder)
    consumers = _consumers(task, context.workers)
    if not consumers:
        return f"No worker consumes the queue {task.queue}."
    reasons = [reason for worker in consumers if (reason := _blocked_prefetch(worker) or _raised_prefetch(worker))]
    return " ".join([_place_in_queue(task, context, consumers), *reasons[:MOST_REASONS]])


def _held(task: Task, worker: WorkerBeat) -> str:
    limited = next((kind for kind in worker.limited if kind.name == task.name), None)
    if limited is not None:
        return f"{worker.name} holds it; {limited.number:,} of its kind {_waits(limited)}."
    return f"{worker.name} holds it until it is due: it was sent with an ETA or a countdown."


def _place_in_queue(task: Task, context: TaskContext, consumers: Sequence[WorkerBeat]) -> str:
    wait = ""
    if context.wait is not None and context.wait.seconds >= SHORTEST_WAIT:
        bound = "at least" if context.wait.at_least else "about"
        wait = f" Expected to start in {bound} {rough_duration(context.wait.seconds)}."
    if context.ahead:
        more = "more than " if context.ahead > MAX_COUNTED else ""
        others = "1 other" if context.ahead == 1 else f"{min(context.ahead, MAX_COUNTED):,} others"
        return f"Waiting behind {more}{others} in the queue {task.queue}.{wait}"
    free = any(worker.busy < worker.slots for worker in consumers)
    return f"Next in the queue {task.queue}" + ("." if free else f"; all its workers are busy.{wait}")


def _blocked_prefetch(worker: WorkerBeat) -> str:
    """Say why a worker with free slots takes no message: those in its memory use up its prefetch. Empty if it takes messages."""
    if not worker.prefetch or len(worker.tags) < worker.prefetch or worker.busy >= worker.slots:
        return ""
    free = worker.slots - worker.busy
    slots = "1 free slot" if free == 1 else f"{free} free slots"
    sentence = f"{worker.name} has {slots}, but takes no more messages while it holds {worker.prefetch:,}"
    if not worker.limited:
        return f"{sentence}."
    kind = worker.limited[0]
    return f"{sentence}: {kind.number:,} of {kind.name} {_waits(kind)}."


def _raised_prefetch(worker: WorkerBeat) -> str:
    """Say that a worker takes messages that others could run, because each task that waits for its ETA raises its prefetch."""
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


def _consumers(task: Task, workers: Sequence[WorkerBeat]) -> list[WorkerBeat]:
    return [worker for worker in workers if worker.online and task.queue in worker.queues]


def _reserved(task: Task, context: TaskContext) -> str:
    sentence = _at_worker(task, context, "has reserved it and is running other tasks first")
    worker = next((beat for beat in context.workers or () if beat.name == task.worker and beat.online), None)
    return " ".join(filter(None, (sentence, _raised_prefetch(worker) if worker else "")))


def _retrying(task: Task, context: TaskContext) -> str:
    error = f" with {task.error_type}" if task.error_type else ""
    allowed = f" of {task.attempts_allowed}" if task.attempts_allowed else ""
    starts = f"attempt {task.attempt + 1}{allowed} starts {_in(task.not_before, context.now)}"
    sentence = f"Attempt {task.attempt} failed{error}; {starts}."
    if context.workers is None:
        return sentence
    consumers = _consumers(task, context.workers)
    if not consumers:
        return f"{sentence} No worker consumes its queue {task.queue}."
    free = sum(max(0, worker.slots - worker.busy) for worker in consumers)
    workers = "One worker consumes" if len(consumers) == 1 else f"{len(consumers)} workers consume"
    return f"{sentence} {workers} its queue {task.queue}, {free} slot{'' if free == 1 else 's'} free."


def _at_worker(task: Task, context: TaskContext, does: str) -> str:
    worker = next((beat for beat in context.workers or () if beat.name == task.worker), None)
    if context.workers is not None and (worker is None or not worker.online):
        return f"{task.worker or 'Its worker'} has stopped sending heartbeats; if it died, another worker gets the task."
    return f"{task.worker or 'A worker'} {does}."


def _in(moment: datetime | None, now: datetime) -> str:
    seconds = (moment - now).total_seconds() if moment else 0.0
    return f"in {rough_duration(seconds)}" if seconds >= 1 else "now"


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0
