"""What this web process answers: how many requests, and how long they took, by route."""

import time
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics

#: Routes that no URL of ours has: files, and what is not there.
STATIC: Final = "(static)"
NONE: Final = "(none)"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# When a counter began is told by none of those that come out of PostgreSQL or Redis, so by no other either.
disable_created_metrics()  # type: ignore[no-untyped-call]
#: This process's own figures; collector.py adds those of all. Nothing is asked only to learn its names.
registry: Final = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=registry)
_requests: Final = Counter(
    "zenith_http_requests", "Requests that this web process answered.", ("method", "route", "status"), registry=registry
)
_seconds: Final = Histogram(
    "zenith_http_request_seconds", "Time until the answer was made.", ("route",), registry=registry,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip


@sync_and_async_middleware
def metrics_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Count and time every request. Stands outside of everything that takes time."""
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
    """Return the name of the request's route: one of those that there are, whatever was asked for."""
    match = request.resolver_match
    if match is not None:
        return match.view_name or match.route
    return STATIC if request.path.startswith(settings.STATIC_URL) else NONE


def _count(request: HttpRequest, response: Any, started: float) -> HttpResponseBase:
    route = route_of(request)
    asked = request.META.get("REQUEST_METHOD", "")
    _requests.labels(asked if asked in _METHODS else "(other)", route, str(response.status_code)).inc()
    _seconds.labels(route).observe(time.perf_counter() - started)
    return cast(HttpResponseBase, response)
