"""Collects the metrics of every source; one that does not answer lacks its own metrics, which is a metric too."""

import logging
import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from zenith_site.metrics import faults
from zenith_site.metrics.sources import Source, sources
from zenith_site.problems import UNAVAILABLE
from zenith_site.version import VERSION

logger = logging.getLogger(__name__)


class ZenithCollector(Collector):
    """Collects the metrics that are the same in every process."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of every source that answers."""
        up = GaugeMetricFamily("zenith_metrics_source_up", "0 if a source of metrics did not answer.", labels=("source",))
        seconds = GaugeMetricFamily(
            "zenith_metrics_source_seconds", "Seconds that the source took to answer.", labels=("source",)
        )
        yield InfoMetricFamily("zenith_build", "The version that runs here.", value={"version": VERSION})
        for name, source in {"faults": faults.faults_of_parts, **sources()}.items():
            started = time.perf_counter()
            metrics = _ask(name, source)
            up.add_metric((name,), metrics is not None)
            seconds.add_metric((name,), time.perf_counter() - started)
            yield from metrics or ()
        yield up
        yield seconds


def _ask(name: str, source: Source) -> list[Metric] | None:
    """Return all of a source's metrics, or None if it fails."""
    try:
        return list(source())
    except UNAVAILABLE as error:
        logger.warning("No metrics of %s: %s", name, str(error).strip() or type(error).__name__)
        return None
    except Exception:
        logger.exception("No metrics of %s", name)
        return None
