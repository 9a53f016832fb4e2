"""Header fields of every response that Django's own middleware does not set."""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

HEADERS: Final = {
    # No page needs any of these, so injected code must not use them either.
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A cache in front does not know tokens in X-API-Key: it would give one caller's response to the next. Static files have their
    # own Cache-Control.
    "Cache-Control": "no-store",
}


@sync_and_async_middleware
def headers_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Add the header fields. It is the outermost middleware, so static files get them too."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            return _with_headers(await get_response(request))

        return middleware

    def middleware_in_a_thread(request: HttpRequest) -> HttpResponseBase:
        return _with_headers(get_response(request))

    return middleware_in_a_thread


def _with_headers(response: Any) -> HttpResponseBase:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return cast(HttpResponseBase, response)
