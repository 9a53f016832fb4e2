"""Refuses bodies over the limit before Django stores them.

Django looks at `Content-Length` only, and only when a view reads the body; a chunked body has no
such field, and would be written to disk and read into memory whole, whoever sent it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from zenith_site import problems

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BodyLimit:
    """An ASGI application around another one that answers 413 to a body over the limit."""

    def __init__(self, application: Callable[..., Awaitable[None]], limit: int) -> None:
        self.application = application
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while its body stays within the limit."""
        if _declared(scope) > self.limit:
            await _refuse(send)
            return
        read = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                raise _TooLargeError
            return message

        try:
            await self.application(scope, counted, send)
        except _TooLargeError:
            await _refuse(send)


class _TooLargeError(Exception):
    """The body went over the limit; Django reads all of it before it answers anything."""


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


async def _refuse(send: Send) -> None:
    response = problems.render(problems.Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than the server reads."))
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    headers.append((b"content-length", str(len(response.content)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
