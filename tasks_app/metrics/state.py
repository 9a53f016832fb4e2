"""The current state: open tasks, queues, workers, and the backlogs of the relay and the recorders."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

from tasks_app.dispatch.backlog import backlog
from tasks_app.maintenance.samples import QueueNow, known_queues, queues_now
from tasks_app.models import QueuePause
from tasks_app.queries import counters
from tasks_app.queries.workers import WorkerState, WorkerView
from zenith_worker.wire import recorder_stats, stream
from zenith_worker.wire.heartbeat import WorkerBeat, read_all
from zenith_worker.wire.recorder_stats import Distribution

#: The most queues to tell apart; if there are more, the shortest are summed up.
MAX_QUEUES: Final = 200
OTHER: Final = "(other)"


def tasks() -> Iterator[Metric]:
    """Yield the metrics of open tasks, dead letters and the relay. Raises django.db.Error."""
    family = GaugeMetricFamily(
        "zenith_tasks_open", f"Tasks that have not ended, by status, counted up to {counters.COUNTED}.", labels=("status",)
    )
    for status, count in counters.open_tasks().items():
        family.add_metric((status,), count)
    yield family
    yield _gauge("zenith_dead_letters_open", "Dead letters that wait for a decision.", counters.open_letters())
    due = backlog()
    yield _gauge("zenith_relay_backlog", "Tasks that are due but not on the broker yet, without paused queues.", due.count)
    yield _gauge(
        "zenith_relay_oldest_age_seconds", "How long the oldest of them has waited; 0 if there is none.", due.oldest_seconds
    )


def workers() -> Iterator[Metric]:
    """Yield the metrics of workers, from their heartbeats. Raises redis.RedisError."""
    beats = read_all()
    states = Counter(WorkerView(beat, []).state for beat in beats)
    family = GaugeMetricFamily(
        "zenith_workers", "Workers with a heartbeat in the last five minutes, by state.", labels=("state",)
    )
    for state in WorkerState:
        family.add_metric((state.value,), states[state])
    yield family
    online = [beat for beat in beats if beat.online]
    yield _gauge("zenith_worker_slots", "Tasks that online workers can run at the same time.", sum(beat.slots for beat in online))
    yield _gauge("zenith_worker_slots_busy", "Tasks that online workers run now.", sum(beat.busy for beat in online))
    memory = sum(beat.memory_bytes or 0 for beat in online)
    yield _gauge("zenith_worker_memory_bytes", "Resident memory of all workers' processes; shared pages count for each.", memory)


@dataclass(frozen=True, slots=True)
class _Queue:
    """The figures of one queue, or of the shortest queues together."""

    name: str
    depth: int
    unacknowledged: int
    oldest_seconds: float | None
    consumers: int
    paused: bool


def queues() -> Iterator[Metric]:
    """Yield the metrics of queues. Raises redis.RedisError or django.db.Error."""
    beats = [beat for beat in read_all() if beat.online]
    paused = set(QueuePause.objects.values_list("queue", flat=True))
    bounded = _bounded([_queue(now, beats, paused) for now in queues_now(known_queues(beats)) if not now.unreadable])
    yield _by_queue("zenith_queue_depth", "Messages that wait on the broker.", ((item.name, item.depth) for item in bounded))
    yield _by_queue(
        "zenith_queue_unacknowledged", "Messages that workers hold.", ((item.name, item.unacknowledged) for item in bounded)
    )
    yield _by_queue(
        "zenith_queue_oldest_age_seconds",
        "How long the oldest message has waited; 0 if none waits, absent if it is not known.",
        ((item.name, item.oldest_seconds) for item in bounded if item.oldest_seconds is not None),
    )
    yield _by_queue(
        "zenith_queue_consumers", "Online workers that consume the queue.", ((item.name, item.consumers) for item in bounded)
    )
    yield _by_queue("zenith_queue_paused", "1 while the queue is paused.", ((item.name, item.paused) for item in bounded))


def recording() -> Iterator[Metric]:
    """Yield the metrics of the stream and the recorders. Raises redis.RedisError."""
    yield _gauge("zenith_stream_entries", "Entries that wait to be recorded, or are being recorded.", stream.length())
    yield _gauge("zenith_stream_lag_seconds", "How long the oldest of them has waited.", stream.lag())
    yield _gauge("zenith_stream_unreadable_entries", "Entries that were set aside.", stream.unreadable_count())
    yield _gauge(
        "zenith_recorder_up", "1 if a recorder has been at work in the last minute.", stream.has_recorder(stream.ANYWHERE)
    )
    recorded = recorder_stats.read()
    yield _histogram("zenith_recorder_batch_entries", "Entries recorded in one transaction.", recorded.sizes)
    yield _histogram(
        "zenith_recorder_delay_seconds", "Seconds from a batch's oldest entry until the batch was recorded.", recorded.delays
    )


def _queue(now: QueueNow, beats: Iterable[WorkerBeat], paused: set[str]) -> _Queue:
    return _Queue(
        name=now.name, depth=now.depth, unacknowledged=now.unacknowledged, paused=now.name in paused,
        oldest_seconds=now.oldest_seconds if now.depth else 0.0, consumers=sum(now.name in beat.queues for beat in beats),
    )  # fmt: skip


def _bounded(queues: list[_Queue]) -> list[_Queue]:
    if len(queues) <= MAX_QUEUES:
        return queues
    ranked = sorted(queues, key=lambda item: -item.depth)
    rest = ranked[MAX_QUEUES:]
    ages = [item.oldest_seconds for item in rest if item.oldest_seconds is not None]
    other = _Queue(
        name=OTHER, depth=sum(item.depth for item in rest), unacknowledged=sum(item.unacknowledged for item in rest),
        oldest_seconds=max(ages, default=None), consumers=max(item.consumers for item in rest),
        paused=any(item.paused for item in rest),
    )  # fmt: skip
    return [*ranked[:MAX_QUEUES], other]


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _by_queue(name: str, documentation: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=("queue",))
    for queue, value in values:
        family.add_metric((queue,), value)
    return family


def _histogram(name: str, documentation: str, distribution: Distribution) -> Metric:
    bounds = [*(f"{bound:g}" for bound in distribution.bounds), "+Inf"]
    return HistogramMetricFamily(
        name, documentation, buckets=list(zip(bounds, distribution.cumulative(), strict=True)), sum_value=distribution.total
    )
