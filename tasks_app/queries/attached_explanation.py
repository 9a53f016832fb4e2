"""Explain why a task of another application is in its status: its own workers send and run it, with a broker of its own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import redis
from django.utils import timezone

from tasks_app.models import Application, AttachedPause, Task, TaskEvent
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries.status_explanation import TaskContext, explain
from zenith_site.common.humanize import rough_duration
from zenith_worker.wire import guard_names, heartbeat
from zenith_worker.wire.guard_names import RECOVERY
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status

#: Seconds after which a worker's heartbeat must name a task that it holds.
SETTLED_AFTER: Final = 15.0
#: Seconds after which a watched worker must name it when it is asked, which it is every 15 seconds.
ASKED_AFTER: Final = 45.0


def explain_attached_status(task: Task) -> str:
    """Return the explanation of a task's status. Two queries at most, and the application's heartbeats."""
    application = Application.objects.get(id=task.application_id or NATIVE_ID)
    if application.is_watched and task.cancel_requested_at and not task.is_finished:
        return _revoked_elsewhere(task, timezone.now())
    workers: Sequence[WorkerBeat] | None = None
    if not task.is_finished:
        try:
            workers = heartbeat.read_all(application.key_name)
        except redis.RedisError:
            workers = None
    now = timezone.now()
    if _waits(task, now) and AttachedPause.objects.filter(application=application, queue=task.queue).exists():
        return _paused(task, application.name)
    return explain_attached(task, application.name, workers, now)


def explain_attached(task: Task, name: str, workers: Sequence[WorkerBeat] | None, now: datetime) -> str:
    """Return why a task of the application `name` is in its status; `workers` are None if Redis is unreachable."""
    if task.cancel_requested_at and not task.is_finished:
        return _cancelled(task, name, workers, now)
    match Status(task.status):
        case Status.PENDING:
            return _unsent(task, name, workers, now)
        case Status.SCHEDULED if task.not_before is not None and task.not_before <= now:
            return _unsent(task, name, workers, now)
        case Status.QUEUED:
            return _waiting(task, name, workers)
        case Status.RECEIVED:
            return _at_worker(task, name, workers, now, "has reserved it and is running other tasks first")
        case Status.STARTED:
            return _at_worker(task, name, workers, now, f"has been running it for {_running_for(task, now)}")
        case Status.RETRY:
            return _retrying(task, name, now)
        case _:
            return explain(task, TaskContext(now=now))


def _waits(task: Task, now: datetime) -> bool:
    """Whether a task waits for its queue, and is not about to be refused."""
    if task.status == Status.SCHEDULED:
        return task.not_before is not None and task.not_before <= now
    return task.status in (Status.PENDING, Status.QUEUED) and task.cancel_requested_at is None


def _paused(task: Task, name: str) -> str:
    """Say why a task of a paused queue waits."""
    if task.status == Status.PENDING and task.handed_at is not None:
        return f"The queue {task.queue} is paused; the workers of {name} were asked to send it before, and it waits there then."
    return f"The queue {task.queue} is paused; the task waits until the queue is resumed."


def _cancelled(task: Task, name: str, workers: Sequence[WorkerBeat] | None, now: datetime) -> str:
    if task.status == Status.STARTED:
        runs = _at_worker(task, name, workers, now, f"has been running it for {_running_for(task, now)}")
        return f"{runs} It was cancelled meanwhile: this run may finish, and the workers of {name} refuse another one."
    if guard_names.of_workers(workers or ()).claims:
        return f"Cancelled; the workers of {name} refuse it before it starts, also those that have not heard of it yet."
    return f"Cancelled; the workers of {name} refuse it when they receive it."


def _revoked_elsewhere(task: Task, now: datetime) -> str:
    """Say what became of the newest request to cancel a task of a watched application; one query."""
    notes = TaskEvent.objects.filter(task=task, position__lt=0).order_by("position").values_list("message", "at")
    asked, at = notes.first() or ("cancelling it was asked for", task.cancel_requested_at or now)
    does = (
        "It was running when it was last heard of; only stopping it ends a run."
        if task.status == Status.STARTED
        else "Workers refuse it when its turn comes."
    )
    return (
        f"{asked[:1].upper()}{asked[1:]} {rough_duration(max(0.0, (now - at).total_seconds()))} ago. {does} It is revoked once a"
        " worker says so; workers that were down then do not know of it."
    )


def _unsent(task: Task, name: str, workers: Sequence[WorkerBeat] | None, now: datetime) -> str:
    """Say why no worker has sent a task that Zenith dispatched."""
    if task.handed_at is not None:
        since = rough_duration(max(0.0, (now - task.handed_at).total_seconds()))
        return f"The workers of {name} were asked {since} ago to send it; none has confirmed yet."
    if workers is None:
        return f"It waits to be sent by a worker of {name}. Redis is unreachable, so its workers are not known."
    if not any(worker.online and worker.catalogue for worker in workers):
        return f"No worker of {name} that takes commands is online; it is sent once one is."
    return f"A worker of {name} is about to be asked to send it."


def _waiting(task: Task, name: str, workers: Sequence[WorkerBeat] | None) -> str:
    queue = f"the queue {task.queue}" if task.queue else "a queue"
    if workers is None:
        return f"Waiting in {queue} of {name}. Redis is unreachable, so the workers of {name} are not known."
    consumers = [worker for worker in workers if worker.online and task.queue in worker.queues]
    if not consumers:
        if any(worker.online and "queues" in worker.unknown for worker in workers):
            return f"Waiting in {queue} of {name}. Some of its workers have not told yet which queues they consume."
        return f"No worker of {name} that reports to Zenith consumes {queue}."
    free = sum(max(0, worker.slots - worker.busy) for worker in consumers)
    consume = "1 worker consumes it" if len(consumers) == 1 else f"{len(consumers)} workers consume it"
    return f"Waiting in {queue} of {name}. {consume}, {free} slot{'' if free == 1 else 's'} free."


def _at_worker(task: Task, name: str, workers: Sequence[WorkerBeat] | None, now: datetime, does: str) -> str:
    its_worker = next((worker for worker in workers or () if worker.name == task.worker and worker.online), None)
    if its_worker is not None and its_worker.watched:
        return _at_watched(task, its_worker, now, does)
    if its_worker is not None and task.celery_id not in its_worker.held and _settled(task, now):
        return (
            f"{task.worker} no longer holds it. The report of how it ended was lost, as with a process that is killed: the"
            f" outcome is known only to {name}."
        )
    if workers is None or its_worker is not None:
        return f"{task.worker or 'A worker'} {does}."
    return f"{task.worker or 'Its worker'} has stopped sending heartbeats. {_after_death(task, workers)}"


def _at_watched(task: Task, worker: WorkerBeat, now: datetime, does: str) -> str:
    """Say what is known of a task at a worker that Zenith only hears, and asks now and then what it has."""
    newest = task.started_at or task.received_at
    if (
        "held" in worker.unknown
        or task.celery_id in worker.held
        or newest is None
        or (now - newest).total_seconds() < ASKED_AFTER
    ):
        return f"{worker.name} {does}."
    ago = rough_duration((now - newest).total_seconds())
    return (
        f"Last heard of {ago} ago, but {worker.name} says that it does not have it: how it ended was not heard. Zenith repairs"
        " nothing of a watched application."
    )


def _after_death(task: Task, workers: Sequence[WorkerBeat]) -> str:
    """Say what becomes of a task whose worker died. A worker stays listed for a while, and then the others stand for it."""
    if task.status == Status.STARTED and task.acks_early:
        return "Its message was acknowledged before it started, so it does not come back and stays as it was last heard of."
    itself = [worker.guards for worker in workers if worker.name == task.worker]
    guards = itself[0] if itself else guard_names.of_workers(workers).shared
    if RECOVERY not in guards:
        return (
            "If it died, the task stays as it was last heard of, unless the broker delivers it again: without the guard recovery,"
            " Zenith does not send it."
        )
    if task.status == Status.RECEIVED:
        return "If it died, the task comes back within half a minute: its worker has the guard recovery."
    return (
        "If it died, the task comes back within half a minute, if it acknowledges late. Otherwise it stays as it was last"
        " heard of."
    )


def _running_for(task: Task, now: datetime) -> str:
    return rough_duration(max(0.0, (now - task.started_at).total_seconds()) if task.started_at else 0.0)


def _settled(task: Task, now: datetime) -> bool:
    """Whether the newest step is so old that heartbeats and reports since then must have arrived."""
    newest = task.started_at or task.received_at
    return newest is not None and (now - newest).total_seconds() > SETTLED_AFTER


def _retrying(task: Task, name: str, now: datetime) -> str:
    failed = f"Attempt {task.attempt} failed" + (f" with {task.error_type}" if task.error_type else "")
    if task.not_before is None:
        return f"{failed}; {name} retries it."
    seconds = (task.not_before - now).total_seconds()
    return f"{failed}; {name} retries it {f'in {rough_duration(seconds)}' if seconds >= 1 else 'now'}."
