"""Gathers the facts of an application, within a few seconds: what is not read by then is unknown."""

from collections.abc import Sequence

from tasks_app.diagnosis import broker_facts, queue_facts, task_facts, worker_facts
from tasks_app.diagnosis.deadline import Deadline
from tasks_app.diagnosis.diagnose import Diagnosis, diagnose
from tasks_app.diagnosis.facts import Facts, QueueFacts
from tasks_app.models import Application
from zenith_worker.wire.heartbeat import WorkerBeat, read_all


def diagnosis_of(application: Application) -> Diagnosis:
    """Return what is wrong with an application now. Raises django.db.Error or redis.RedisError."""
    return diagnose(gather(application))


def gather(application: Application, deadline: Deadline | None = None) -> Facts:
    """Return the facts of Zenith's own application or an attached one; some 15 queries, bounded together.

    Raises django.db.Error or redis.RedisError.
    """
    with deadline or Deadline() as by:
        return _gather(application, by)


def _gather(application: Application, by: Deadline) -> Facts:
    beats = read_all(application.key_name)
    tasks = by.read("what workers run", lambda: worker_facts.tasks_at(application, beats))
    workers = worker_facts.worker_facts(beats, tasks)
    runtime, wait = by.read("runtimes and waiting times", lambda: task_facts.longest_times(application)) or (None, None)
    eta = by.read("ETAs", lambda: task_facts.longest_eta(application))
    running = [task.seconds for worker in workers for task in worker.running or ()]
    told = broker_facts.told_broker(beats)
    return Facts(
        application=application.name,
        kind=str(application.kind),
        workers=workers,
        queues=by.read("queues", lambda: _queues(application, beats)),
        broker=(by.read("the broker", lambda: broker_facts.native_broker(told)) or told) if application.is_native else told,
        result_expires=broker_facts.result_expires(beats),
        priorities=by.read("priorities", lambda: task_facts.priorities(application)),
        unknown_tasks=by.read("names of tasks", lambda: task_facts.unknown_tasks(application)),
        lost=by.read("lost tasks", lambda: worker_facts.lost_tasks(application, beats)),
        longest_eta=max(filter(None, (eta, *(beat.longest_eta for beat in beats if beat.online))), default=None),
        longest_runtime=max(filter(None, (runtime, *running)), default=runtime),
        longest_wait=wait,
        schedules=by.read("beat's schedules", lambda: task_facts.schedules(application, beats)),
        missed=tuple(by.missed),
    )


def _queues(application: Application, beats: Sequence[WorkerBeat]) -> tuple[QueueFacts, ...]:
    if application.is_native:
        return queue_facts.native_queues()
    return queue_facts.attached_queue_facts(application, beats)
