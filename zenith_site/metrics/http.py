"""Metrics of this web process: the number and duration of its requests, by route."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics

from zenith_site.common.middleware import Finish, SyncAsyncMiddleware

#: The labels of static files, and of paths that do not exist.
STATIC: Final = "(static)"
NONE: Final = "(none)"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Counters that come from PostgreSQL or Redis have no time of creation, so the others do not report theirs either.
disable_created_metrics()  # type: ignore[no-untyped-call]
#: This process's own metrics; collector.py adds those of all processes. No source is queried only for the names of its metrics.
registry: Final = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=registry)
_requests: Final = Counter(
    "zenith_http_requests", "Requests that this web process has answered.", ("method", "route", "status"), registry=registry
)
_seconds: Final = Histogram(
    "zenith_http_request_seconds", "Seconds until the response was ready.", ("route",), registry=registry,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip


class MetricsMiddleware(SyncAsyncMiddleware):
    """Counts and times every request. It is outside all middleware that takes time."""

    @contextmanager
    def around(self, request: HttpRequest) -> Iterator[Finish]:
        """Start the clock, and yield what counts the response."""
        yield partial(_count, request, time.perf_counter())


def route_of(request: HttpRequest) -> str:
    """Return the name of the request's route, one of a fixed set whatever path was requested."""
    match = request.resolver_match
    if match is not None:
        return match.view_name or match.route
    return STATIC if request.path.startswith(settings.STATIC_URL) else NONE


def _count(request: HttpRequest, started_at: float, response: HttpResponseBase) -> HttpResponseBase:
    route = route_of(request)
    method = request.META.get("REQUEST_METHOD", "")
    _requests.labels(method if method in _METHODS else "(other)", route, str(response.status_code)).inc()
    _seconds.labels(route).observe(time.perf_counter() - started_at)
    return response
