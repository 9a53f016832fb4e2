"""A span for every request that people or programs make; not for files, nor for what only looks whether we are well."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from zenith_site.metrics.http import route_of
from zenith_worker.wire import correlation, spans
from zenith_worker.wire.headers import TRACEPARENT, TRACESTATE

SERVER_ERROR: Final = 500
_QUIET: Final = ("/health", "/ready", "/metrics")


@sync_and_async_middleware
def tracing_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Trace every request but those. Only there where traces are sent (settings.py)."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            if _is_quiet(request):
                return cast(HttpResponseBase, await get_response(request))
            with _span(request):
                return _told(request, await get_response(request))

        return middleware

    def middleware_in_a_thread(request: HttpRequest) -> HttpResponseBase:
        if _is_quiet(request):
            return cast(HttpResponseBase, get_response(request))
        with _span(request):
            return _told(request, get_response(request))

    return middleware_in_a_thread


def _is_quiet(request: HttpRequest) -> bool:
    return request.path_info in _QUIET or request.path.startswith(settings.STATIC_URL)


def _span(request: HttpRequest) -> AbstractContextManager[None]:
    carried = {name: value for name in (TRACEPARENT, TRACESTATE) if (value := request.headers.get(name))}
    return spans.span(
        request.method or "HTTP", "server", parent=carried, http__request__method=request.method or "",
        url__path=request.path, zenith__request_id=correlation.request_id.get(),
    )  # fmt: skip


def _told(request: HttpRequest, response: Any) -> HttpResponseBase:
    """Note what is known at the end only; the route, and not the path, makes the name, so that there are few."""
    current, route = trace.get_current_span(), route_of(request)
    current.update_name(f"{request.method} {route}")
    current.set_attribute("http.route", route)
    current.set_attribute("http.response.status_code", response.status_code)
    if response.status_code >= SERVER_ERROR:
        current.set_status(StatusCode.ERROR)
    return cast(HttpResponseBase, response)
