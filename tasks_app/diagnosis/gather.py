"""Gathers the facts of an application, within a few seconds: what is not read by then is unknown."""

from collections.abc import Sequence

from tasks_app.diagnosis import broker_facts, observation, queue_facts, task_facts, worker_facts
from tasks_app.diagnosis.deadline import Deadline
from tasks_app.diagnosis.diagnose import Diagnosis, diagnose
from tasks_app.diagnosis.facts import Facts, LostTasks, QueueFacts
from tasks_app.models import Application
from tasks_app.watching.observed import Observed
from tasks_app.watching.redis_health import RedisHealth
from zenith_worker.wire.heartbeat import WorkerBeat, read_all


def diagnosis_of(application: Application) -> Diagnosis:
    """Return what is wrong with an application now. Raises django.db.Error or redis.RedisError."""
    return diagnose(gather(application))


def gather(application: Application, deadline: Deadline | None = None) -> Facts:
    """Return the facts of an application; some 15 queries, bounded together.

    Raises django.db.Error or redis.RedisError.
    """
    with deadline or Deadline() as by:
        return _gather(application, by)


def _gather(application: Application, by: Deadline) -> Facts:
    beats = read_all(application.key_name)
    watching = observation.of(application)
    observed = watching.observed
    workers = None
    if watching.knows_workers or any(beat.online for beat in beats):
        tasks = by.read("what workers run", lambda: worker_facts.tasks_at(application, beats, observed.limits))
        workers = worker_facts.worker_facts(beats, tasks, knows_limits=observed.limits is not None)
    runtime, wait = by.read("runtimes and waiting times", lambda: task_facts.longest_times(application)) or (None, None)
    eta = by.read("ETAs", lambda: task_facts.longest_eta(application))
    running = [task.seconds for worker in workers or () for task in worker.running or ()]
    health = by.read("the broker", broker_facts.native_health) if application.is_native else observed.redis
    known = task_facts.known_names(application, observed)
    return Facts(
        application=application.name,
        kind=str(application.kind),
        workers=workers,
        queues=by.read("queues", lambda: _queues(application, beats)),
        broker=broker_facts.asked_redis(broker_facts.told_broker(beats), health),
        result_expires=broker_facts.result_expires(beats),
        priorities=by.read("priorities", lambda: task_facts.priorities(application, observed.priorities)),
        unknown_tasks=by.read("names of tasks", lambda: task_facts.unknown_tasks(application, known)),
        lost=None if workers is None else by.read("lost tasks", lambda: _lost(application, beats, observed)),
        longest_eta=max(filter(None, (eta, *(beat.longest_eta for beat in beats if beat.online))), default=None),
        longest_runtime=max(filter(None, (runtime, *running)), default=runtime),
        longest_wait=wait,
        schedules=by.read("beat's schedules", lambda: task_facts.schedules(application, beats, as_sent=watching.tells_sent)),
        unheard=watching.unheard,
        missed=(*by.missed, *_refused(health)),
    )


def _lost(application: Application, beats: Sequence[WorkerBeat], observed: Observed) -> tuple[LostTasks, ...]:
    return worker_facts.lost_tasks(application, beats, observed.early)


def _refused(health: RedisHealth | None) -> tuple[str, ...]:
    """Return which facts the broker's Redis keeps from the user that asks."""
    if health is None or not health.refused:
        return ()
    return (f"what the broker says of its memory and its disk (the user may not run {' and '.join(health.refused)})",)


def _queues(application: Application, beats: Sequence[WorkerBeat]) -> tuple[QueueFacts, ...]:
    if application.is_native:
        return queue_facts.native_queues()
    return queue_facts.attached_queue_facts(application, beats)
