"""The base of middleware for both sync and async requests: one class, as in django-htmx."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

#: Takes the response and returns the one to send.
Finish = Callable[[HttpResponseBase], HttpResponseBase]


class SyncAsyncMiddleware:
    """Middleware that does something before and after a request: a subclass writes `around` once, for both kinds."""

    sync_capable: ClassVar[bool] = True
    async_capable: ClassVar[bool] = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def around(self, request: HttpRequest) -> AbstractContextManager[Finish]:
        """Return a context manager around the rest of the request, which yields what finishes its response."""
        raise NotImplementedError

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Return the response, or what an async server awaits."""
        if self.is_async:
            return self.__acall__(request)
        with self.around(request) as finish:
            return finish(self.get_response(request))

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response of an async request."""
        with self.around(request) as finish:
            return finish(await self.get_response(request))
