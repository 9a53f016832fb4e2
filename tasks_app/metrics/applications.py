"""Other applications: what ended, what is open, what waits at their brokers, and their workers.

These metrics have names of their own: sums and alerts over the metrics of Zenith's own application do not change because somebody
attaches another one.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tasks_app.analytics.lifetime import ApplicationsLifetime
from tasks_app.maintenance.depths import observed_queues
from tasks_app.metrics.outcomes import OUTCOMES
from tasks_app.models import Application
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries.status_counts import COUNTED_TO
from tasks_app.search.planner import status_counts_of
from zenith_worker.wire.heartbeat import WorkerBeat, read_several
from zenith_worker.wire.states import OPEN, Status

#: The most queues of all applications together to tell apart; of more, the shortest are summed up for each application.
MAX_QUEUES: Final = 200
OTHER: Final = "(other)"

lifetime: Final = ApplicationsLifetime()


def applications() -> Iterator[Metric]:
    """Yield the metrics. Six queries at most, one without attached applications. Raises redis.RedisError or django.db.Error."""
    rows = list(Application.objects.exclude(id=NATIVE_ID).order_by("name"))
    if not rows:
        return
    beats = read_several(row.key_name for row in rows)
    by_name = {row.name: beats[row.key_name] for row in rows}
    yield _finished(rows)
    yield _open(rows)
    yield _depths(rows, by_name)
    online = _family("workers_online", "Workers of the application with a recent heartbeat.")
    for name, workers in by_name.items():
        online.add_metric((name,), sum(beat.online for beat in workers))
    yield online


def _finished(rows: list[Application]) -> Metric:
    totals_of = lifetime.totals()
    family = CounterMetricFamily(
        "zenith_application_tasks_finished", "Tasks of the application that have ended, by outcome.",
        labels=("application", "outcome"),
    )  # fmt: skip
    for row in rows:
        for outcome in OUTCOMES:
            family.add_metric((row.name, outcome), getattr(totals_of.get(row.pk), outcome, 0))
    return family


def _open(rows: list[Application]) -> Metric:
    family = _family(
        "tasks_open", f"Tasks of the application that have not ended, by status, counted up to {COUNTED_TO}.", "status"
    )
    statuses = sorted(Status(status) for status in OPEN)
    counted = status_counts_of((row.pk for row in rows), COUNTED_TO, statuses)
    for row in rows:
        for status in statuses:
            family.add_metric((row.name, status.value), counted.get(row.pk, {}).get(status, 0))
    return family


def _depths(rows: list[Application], beats: Mapping[str, list[WorkerBeat]]) -> Metric:
    """Return the depths that workers or observers have told; a queue of which none has is absent."""
    depths = [
        (queue.depth, name, queue.name)
        for name, queues in observed_queues(rows, beats).items()
        for queue in queues.values()
        if queue.depth is not None
    ]
    depths.sort(key=lambda depth: (-depth[0], *depth[1:]))
    rest: dict[str, int] = {}
    for number, name, _ in depths[MAX_QUEUES:]:
        rest[name] = rest.get(name, 0) + number
    family = _family(
        "queue_depth", "Messages that wait at the application's broker, as its workers or its observer tell.", "queue"
    )
    for number, name, queue in [*depths[:MAX_QUEUES], *((number, name, OTHER) for name, number in rest.items())]:
        family.add_metric((name, queue), number)
    return family


def _family(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"zenith_application_{name}", documentation, labels=("application", *labels))
