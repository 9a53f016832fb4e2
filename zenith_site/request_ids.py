"""Every request has an id: its own (`X-Request-ID`), or a new one. The response carries it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from zenith_site.common.middleware import Finish, SyncAsyncMiddleware
from zenith_worker.wire import correlation

HEADER: Final = "X-Request-ID"


class RequestIdMiddleware(SyncAsyncMiddleware):
    """Sets the id for logs and messages while the request is served. It is outermost, so that everything has the id."""

    @contextmanager
    def around(self, request: HttpRequest) -> Iterator[Finish]:
        """Set the id, and yield what adds it to the response."""
        token = correlation.request_id.set(correlation.accept(request.headers.get(HEADER, "")))
        try:
            yield _with_id
        finally:
            correlation.request_id.reset(token)


def _with_id(response: HttpResponseBase) -> HttpResponseBase:
    response.headers[HEADER] = correlation.request_id.get()
    return response
