"""What ended, as counters and histograms: out of the rollups, so every process says the same and a restart forgets nothing."""

from collections.abc import Iterator
from typing import Final

from django.conf import settings
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from tasks_app.analytics.lifetime import Lifetime, Pair, add
from tasks_app.analytics.rollups import Totals
from tasks_app.recording.rollups import BOUNDS

#: Every second bound from 3.2 ms to 28 minutes: each twice the one before.
_SHOWN: Final = range(10, 49, 2)
OUTCOMES: Final = ("succeeded", "failed", "revoked")

lifetime: Final = Lifetime()


def outcomes() -> Iterator[Metric]:
    """Yield the metrics. Raises django.db.Error."""
    found = lifetime.totals(settings.ZENITH_METRICS_MAX_TASKS)
    yield _finished(found)
    yield _retries(found)
    yield _runtimes(found)
    yield _waits(found)


def _finished(found: dict[Pair, Totals]) -> Metric:
    family = CounterMetricFamily(
        "zenith_tasks_finished", "Tasks that have ended, by outcome.", labels=("task", "queue", "outcome")
    )
    for pair, totals in found.items():
        for outcome in OUTCOMES:
            family.add_metric((*pair, outcome), getattr(totals, outcome))
    return family


def _retries(found: dict[Pair, Totals]) -> Metric:
    family = CounterMetricFamily("zenith_task_retries", "Attempts that failed and were retried.", labels=("task", "queue"))
    for pair, totals in found.items():
        family.add_metric(pair, totals.retried)
    return family


def _runtimes(found: dict[Pair, Totals]) -> Metric:
    family = HistogramMetricFamily(
        "zenith_task_runtime_seconds", "Seconds in the task's body, for the attempt that ended it.", labels=("task", "queue")
    )
    for pair, totals in found.items():
        family.add_metric(pair, _buckets(totals.runtimes), totals.runtime_seconds)
    return family


def _waits(found: dict[Pair, Totals]) -> Metric:
    """By queue only: what a task waits for is its queue's workers."""
    by_queue: dict[str, Totals] = {}
    for (_, queue), totals in found.items():
        by_queue[queue] = add(by_queue[queue], totals) if queue in by_queue else totals
    family = HistogramMetricFamily("zenith_task_waiting_seconds", "Seconds from the queue to a worker's slot.", labels=("queue",))
    for queue, totals in by_queue.items():
        family.add_metric((queue,), _buckets(totals.waits), totals.waiting_seconds)
    return family


def _buckets(histogram: list[int]) -> list[tuple[str, float]]:
    """Return cumulative counts by upper bound, the way Prometheus has them, of fewer bounds than are kept."""
    cumulative = [(f"{BOUNDS[index]:g}", sum(histogram[: index + 1])) for index in _SHOWN]
    return [*cumulative, ("+Inf", sum(histogram))]
