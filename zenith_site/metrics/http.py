"""Metrics of this web process: the number and duration of its requests, by route."""

import time
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics

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


@sync_and_async_middleware
def metrics_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Count and time every request. It is outside all middleware that takes time."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            started = time.perf_counter()
            return _count(request, await get_response(request), started)

        return middleware

    def middleware_in_a_thread(request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        return _count(request, get_response(request), started)

    return middleware_in_a_thread


def route_of(request: HttpRequest) -> str:
    """Return the name of the request's route, one of a fixed set whatever path was requested."""
    match = request.resolver_match
    if match is not None:
        return match.view_name or match.route
    return STATIC if request.path.startswith(settings.STATIC_URL) else NONE


def _count(request: HttpRequest, response: Any, started: float) -> HttpResponseBase:
    route = route_of(request)
    method = request.META.get("REQUEST_METHOD", "")
    _requests.labels(method if method in _METHODS else "(other)", route, str(response.status_code)).inc()
    _seconds.labels(route).observe(time.perf_counter() - started)
    return cast(HttpResponseBase, response)
