"""An ASGI application whose answer breaks, under the limits of Zenith's own."""

from __future__ import annotations

from typing import Any

from zenith_site.asgi import application as zenith


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer `/broken` with a beginning and an error, and everything else as Zenith does."""
    if scope["type"] != "http" or scope["path"] != "/broken":
        await zenith(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/csv")]})
    if scope["query_string"]:
        await send({"type": "http.response.body", "body": b"a,b\n", "more_body": True})
    raise ValueError("in the middle of an answer")
