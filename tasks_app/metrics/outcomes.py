"""Outcomes as counters and histograms, read from the rollups: every process reports the same, and a restart loses nothing."""

from collections.abc import Iterator
from typing import Final

from django.conf import settings
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from tasks_app.analytics.lifetime import Lifetime, Pair
from tasks_app.analytics.rollups import Totals
from tasks_app.recording.rollups import BOUNDS

#: Every second bound from 3.2 ms to 28 minutes: each twice the one before.
_SHOWN: Final = range(10, 49, 2)
OUTCOMES: Final = ("succeeded", "failed", "revoked")

lifetime: Final = Lifetime()


def outcomes() -> Iterator[Metric]:
    """Yield the metrics. Raises django.db.Error."""
    totals_of = lifetime.totals(settings.ZENITH_METRICS_MAX_TASKS)
    yield _finished(totals_of)
    yield _retries(totals_of)
    yield _runtimes(totals_of)
    yield _waits(totals_of)


def _finished(totals_of: dict[Pair, Totals]) -> Metric:
    family = CounterMetricFamily(
        "zenith_tasks_finished", "Tasks that have ended, by outcome.", labels=("task", "queue", "outcome")
    )
    for pair, totals in totals_of.items():
        for outcome in OUTCOMES:
            family.add_metric((*pair, outcome), getattr(totals, outcome))
    return family


def _retries(totals_of: dict[Pair, Totals]) -> Metric:
    family = CounterMetricFamily("zenith_task_retries", "Attempts that failed and were retried.", labels=("task", "queue"))
    for pair, totals in totals_of.items():
        family.add_metric(pair, totals.retried)
    return family


def _runtimes(totals_of: dict[Pair, Totals]) -> Metric:
    family = HistogramMetricFamily(
        "zenith_task_runtime_seconds", "Seconds in the task's body, for the attempt that ended it.", labels=("task", "queue")
    )
    for pair, totals in totals_of.items():
        family.add_metric(pair, _buckets(totals.runtimes), totals.runtime_seconds)
    return family


def _waits(totals_of: dict[Pair, Totals]) -> Metric:
    """Return waiting times by queue only, since a task waits for its queue's workers."""
    by_queue: dict[str, Totals] = {}
    for (_, queue), totals in totals_of.items():
        by_queue[queue] = by_queue[queue] + totals if queue in by_queue else totals
    family = HistogramMetricFamily("zenith_task_waiting_seconds", "Seconds from the queue to a worker's slot.", labels=("queue",))
    for queue, totals in by_queue.items():
        family.add_metric((queue,), _buckets(totals.waits), totals.waiting_seconds)
    return family


def _buckets(histogram: list[int]) -> list[tuple[str, float]]:
    """Return cumulative counts by upper bound, as Prometheus expects them, for every second bound."""
    cumulative = [(f"{BOUNDS[index]:g}", sum(histogram[: index + 1])) for index in _SHOWN]
    return [*cumulative, ("+Inf", sum(histogram))]
