"""Every request has an id: the one it came with (`X-Request-ID`), else a new one. The answer carries it."""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from zenith_worker.wire import correlation

HEADER: Final = "X-Request-ID"


@sync_and_async_middleware
def request_id_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Note the id for logs and messages while the request is served. Stands outermost, so that everything has it."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            token = correlation.request_id.set(correlation.accept(request.headers.get(HEADER, "")))
            try:
                return _with_id(await get_response(request))
            finally:
                correlation.request_id.reset(token)

        return middleware

    def middleware_in_a_thread(request: HttpRequest) -> HttpResponseBase:
        token = correlation.request_id.set(correlation.accept(request.headers.get(HEADER, "")))
        try:
            return _with_id(get_response(request))
        finally:
            correlation.request_id.reset(token)

    return middleware_in_a_thread


def _with_id(response: Any) -> HttpResponseBase:
    response.headers[HEADER] = correlation.request_id.get()
    return cast(HttpResponseBase, response)
