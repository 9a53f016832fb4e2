"""The sources of metrics: each app registers its own in `metrics`, a module or a package."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

from django.utils.module_loading import autodiscover_modules
from prometheus_client.core import Metric

Source = Callable[[], Iterable[Metric]]
_SOURCES: Final[dict[str, Source]] = {}


def register(name: str, source: Source) -> None:
    """Register a source of metrics; `name` is its label in the metrics about sources."""
    _SOURCES[name] = source


@cache
def sources() -> dict[str, Source]:
    """Return all sources by name. The first call imports every app's `metrics`."""
    autodiscover_modules("metrics")
    return _SOURCES
