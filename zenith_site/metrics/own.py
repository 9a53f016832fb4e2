"""What Prometheus reads of Zenith's own parts."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from zenith_site.common import faults


def faults_of_parts() -> Iterator[Metric]:
    """Yield how often parts of engines and agents met what nobody foresaw. Raises redis.RedisError."""
    family = CounterMetricFamily("zenith_faults", "Errors that nobody foresaw, by the part that met them.", labels=("part",))
    for part, count in faults.counts().items():
        family.add_metric((part,), count)
    yield family
