"""Metrics of Zenith's own parts."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from zenith_site.common import faults


def faults_of_parts() -> Iterator[Metric]:
    """Yield the number of unexpected errors in each part of engines and agents. Raises redis.RedisError."""
    family = CounterMetricFamily("zenith_faults", "Unexpected errors, by the part of Zenith that failed.", labels=("part",))
    for part, count in faults.counts().items():
        family.add_metric((part,), count)
    yield family
