"""Why one task waits: the finding that explains it, besides what its status says already."""

from typing import Final

import redis

from tasks_app.diagnosis import task_facts, worker_facts
from tasks_app.diagnosis.deadline import Deadline
from tasks_app.diagnosis.diagnose import diagnose
from tasks_app.diagnosis.facts import Facts, QueueFacts
from tasks_app.diagnosis.findings import Finding, Subject
from tasks_app.diagnosis.queue_facts import attached_queue_facts, native_queue
from tasks_app.dispatch.applications import of_task
from tasks_app.models import Application, Task
from zenith_worker.wire.heartbeat import WorkerBeat, read_all
from zenith_worker.wire.states import Status

#: Seconds for the facts of a task's page, which is read again every few seconds.
PATIENCE: Final = 1.0
#: What the explanation of a status says by itself: of a task of Zenith's own application, and of another one's.
_SAID: Final = frozenset({"no-worker", "no-consumer"})
_SAID_OF_OWN: Final = _SAID | {
    "queue-paused", "queue-unreadable", "rate-limit-fills-prefetch", "eta-grows-prefetch", "prefetch-full",
}  # fmt: skip


def explained(task: Task, why: str) -> str:
    """Return why a task is in its status, with the sentence of the finding that explains it if there is one.

    A few queries for a task that waits at the broker or in a worker, and none for others. Raises django.db.Error.
    """
    if task.status not in (Status.QUEUED, Status.RECEIVED) or task.cancel_requested_at:
        return why
    try:
        finding = explaining(task, of_task(task))
    except redis.RedisError:
        return why
    return f"{why} {finding.sentence}" if finding else why


def explaining(task: Task, application: Application) -> Finding | None:
    """Return the most direct finding that explains why a task waits. Raises django.db.Error or redis.RedisError."""
    said = _SAID_OF_OWN if application.is_native else _SAID
    return next(
        (one for one in diagnose(_facts(task, application)).findings if one.rule not in said and _concerns(one, task)), None
    )  # fmt: skip


def _concerns(finding: Finding, task: Task) -> bool:
    match finding.subject:
        case Subject.TASK:
            return finding.name == task.name
        case Subject.WORKER:
            # What is reserved waits for its own worker only.
            return finding.name == task.worker if task.status == Status.RECEIVED else task.queue in finding.queues
        case Subject.QUEUE:
            return finding.name == task.queue and task.status == Status.QUEUED
        case _:
            return False


def _facts(task: Task, application: Application) -> Facts:
    beats = read_all(application.key_name)
    with Deadline(PATIENCE) as by:
        tasks = by.read("what workers run", lambda: worker_facts.tasks_at(application, beats))
        return Facts(
            application=application.name,
            kind=str(application.kind),
            workers=worker_facts.worker_facts(beats, tasks),
            queues=by.read("the queue", lambda: _queue(task.queue, application, beats)),
            unknown_tasks=by.read("names of tasks", lambda: task_facts.unknown_tasks(application)),
        )


def _queue(name: str, application: Application, beats: list[WorkerBeat]) -> tuple[QueueFacts, ...]:
    if application.is_native:
        return (native_queue(name),)
    return tuple(queue for queue in attached_queue_facts(application, beats) if queue.name == name)
