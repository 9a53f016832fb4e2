"""The facts about queues: from the broker of Zenith's own application, and as the workers or observers of others tell."""

from collections.abc import Sequence
from typing import Final

from tasks_app.diagnosis.facts import QueueFacts
from tasks_app.models import Application
from tasks_app.queries import attached_queues
from tasks_app.queries.attached_queues import AttachedQueue
from tasks_app.queries.queues import QueueFilter, QueueView
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status
from zenith_worker.wire.worker_settings import WorkerSettings

#: The queues of Zenith's own application that are judged: the longest.
MOST: Final = 200


def native_queues() -> tuple[QueueFacts, ...]:
    """Return the facts about the longest queues of Zenith's own application. Raises redis.RedisError."""
    return tuple(_native(view) for view in QueueFilter(limit=MOST).longest(1).queues)


def _native(view: QueueView) -> QueueFacts:
    return QueueFacts(
        name=view.name,
        depth=None if view.now.unreadable else view.now.depth,
        held=view.held if view.pause else 0,
        oldest_seconds=view.now.oldest_seconds,
        paused_by=view.pause.paused_by if view.pause else None,
        unreadable=view.now.unreadable,
        growth=None if view.rate_in is None else view.rate_in - view.rate_out,
        served=view.rate_out,
    )


def attached_queue_facts(application: Application, beats: Sequence[WorkerBeat]) -> tuple[QueueFacts, ...]:
    """Return the facts about the queues of another application: what its workers consume, what waits, and its open tasks."""
    settings = next((beat.settings for beat in beats if beat.online and beat.settings is not None), None)
    found = sorted(attached_queues.queues_of(application).queues, key=lambda queue: queue.name)
    return tuple(_attached(queue, settings) for queue in found if queue.name)


def _attached(queue: AttachedQueue, settings: WorkerSettings | None) -> QueueFacts:
    observed = queue.observed
    told_priority = settings.max_priority if settings else None
    told_type = settings.queue_type or None if settings else None
    return QueueFacts(
        name=queue.name, depth=queue.waiting, tasks=queue.by_status.get(Status.QUEUED, 0),
        held=queue.by_status.get(Status.PENDING, 0) if queue.pause else 0, oldest_seconds=queue.oldest_seconds,
        paused_by=queue.pause.paused_by if queue.pause else None, unreadable=queue.unreadable,
        # A worker that has just begun is not counted yet.
        broker_consumers=observed.consumers if observed and (observed.consumers or observed.settled) else None,
        growth=queue.rates.growth, served=queue.rates.served,
        max_priority=told_priority if observed is None or observed.max_priority is None else observed.max_priority,
        queue_type=told_type if observed is None or observed.queue_type is None else observed.queue_type,
    )  # fmt: skip
