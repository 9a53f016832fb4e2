"""A span for every request of people and programs, but not for static files or health checks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from zenith_site.common.middleware import Finish, SyncAsyncMiddleware
from zenith_site.metrics.http import route_of
from zenith_worker.wire import correlation, spans
from zenith_worker.wire.headers import TRACEPARENT, TRACESTATE

SERVER_ERROR: Final = 500
_QUIET: Final = ("/health", "/ready", "/metrics")


class TracingMiddleware(SyncAsyncMiddleware):
    """Traces every request except static files and health checks. Only installed if tracing is enabled (settings.py)."""

    @contextmanager
    def around(self, request: HttpRequest) -> Iterator[Finish]:
        """Open the span, and yield what describes the response in it."""
        if _is_quiet(request):
            yield _unchanged
            return
        with _span(request):
            yield partial(_describe, request)


def _unchanged(response: HttpResponseBase) -> HttpResponseBase:
    return response


def _is_quiet(request: HttpRequest) -> bool:
    return request.path_info in _QUIET or request.path.startswith(settings.STATIC_URL)


def _span(request: HttpRequest) -> AbstractContextManager[None]:
    carried = {name: value for name in (TRACEPARENT, TRACESTATE) if (value := request.headers.get(name))}
    return spans.span(
        request.method or "HTTP", "server", parent=carried, http__request__method=request.method or "",
        url__path=request.path, zenith__request_id=correlation.request_id.get(),
    )  # fmt: skip


def _describe(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Set what is known only at the end. The span's name has the route, not the path, so that there are few names."""
    current, route = trace.get_current_span(), route_of(request)
    current.update_name(f"{request.method} {route}")
    current.set_attribute("http.route", route)
    current.set_attribute("http.response.status_code", response.status_code)
    if response.status_code >= SERVER_ERROR:
        current.set_status(StatusCode.ERROR)
    return response
