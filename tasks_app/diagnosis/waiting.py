"""Why one task waits: the finding that explains it, besides what its status says already."""

from typing import Final

import redis

from tasks_app.diagnosis import observation, task_facts, worker_facts
from tasks_app.diagnosis.diagnose import diagnose
from tasks_app.diagnosis.facts import Facts, QueueFacts
from tasks_app.diagnosis.findings import Finding, Subject
from tasks_app.dispatch.applications import of_task
from tasks_app.models import Application, Task
from zenith_worker.wire.heartbeat import read_all
from zenith_worker.wire.states import Status

#: What the explanation of a status says by itself: of a task of Zenith's own application, and of another one's.
_SAID: Final = frozenset({"no-worker", "no-consumer"})
_SAID_OF_OWN: Final = _SAID | {
    "queue-paused", "queue-unreadable", "rate-limit-fills-prefetch", "eta-grows-prefetch", "prefetch-full",
}  # fmt: skip


def explained(task: Task, why: str) -> str:
    """Return why a task is in its status, with the sentence of the finding that explains it if there is one.

    One query at most for a task that waits at the broker or in a worker, besides its application's. Raises django.db.Error.
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
    """Return the facts about the workers that may run the task, and about itself. One query at most."""
    beats = [beat for beat in read_all(application.key_name) if beat.name == task.worker or task.queue in beat.queues]
    observed = observation.of(application).observed
    tasks = worker_facts.tasks_at(application, [beat for beat in beats if beat.held or beat.watched], observed.limits)
    return Facts(
        application=application.name,
        kind=str(application.kind),
        workers=worker_facts.worker_facts(beats, tasks, knows_limits=observed.limits is not None),
        queues=(QueueFacts(name=task.queue, tasks=int(task.status == Status.QUEUED)),),
        unknown_tasks=task_facts.unknown_among([(task.name, task.queue)], task_facts.known_names(application, observed)),
    )
