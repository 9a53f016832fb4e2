"""Asking every source; one that does not answer takes its own figures with it, and says so."""

import logging
import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from zenith_site.metrics import own
from zenith_site.metrics.sources import Source, sources
from zenith_site.problems import UNAVAILABLE
from zenith_site.version import VERSION

logger = logging.getLogger(__name__)


class ZenithCollector(Collector):
    """All that is the same whichever process is asked."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of every source that answers."""
        up = GaugeMetricFamily("zenith_metrics_source_up", "0 where a source of figures did not answer.", labels=("source",))
        seconds = GaugeMetricFamily("zenith_metrics_source_seconds", "How long asking it took.", labels=("source",))
        yield InfoMetricFamily("zenith_build", "What runs here.", value={"version": VERSION})
        for name, source in {"faults": own.faults_of_parts, **sources()}.items():
            started = time.perf_counter()
            found = _ask(name, source)
            up.add_metric((name,), found is not None)
            seconds.add_metric((name,), time.perf_counter() - started)
            yield from found or ()
        yield up
        yield seconds


def _ask(name: str, source: Source) -> list[Metric] | None:
    """Return a source's metrics, all or none of them."""
    try:
        return list(source())
    except UNAVAILABLE as error:
        logger.warning("No metrics of %s: %s", name, str(error).strip() or type(error).__name__)
        return None
    except Exception:
        logger.exception("No metrics of %s", name)
        return None
