"""Header fields of every response that Django's own middleware does not set."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from zenith_site.common.middleware import Finish, SyncAsyncMiddleware

HEADERS: Final = {
    # No page needs any of these, so injected code must not use them either.
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A cache in front does not know tokens in X-API-Key: it would give one caller's response to the next. Static files have their
    # own Cache-Control.
    "Cache-Control": "no-store",
}


class HeadersMiddleware(SyncAsyncMiddleware):
    """Adds the header fields. It is the outermost middleware, so static files get them too."""

    @contextmanager
    def around(self, request: HttpRequest) -> Iterator[Finish]:
        """Yield what adds the fields."""
        yield _with_headers


def _with_headers(response: HttpResponseBase) -> HttpResponseBase:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
