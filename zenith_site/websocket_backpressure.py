"""Waiting for clients that read slowly, so that what is sent to them does not pile up in memory.

Daphne hands whatever the application sends to Twisted, which keeps it until the client takes it, however much that is.
Other ASGI servers wait in `send`; this does the same for daphne's WebSockets. Twisted itself pauses a transport's producer
once 64 KiB are waiting (and then reads nothing from that client either), and resumes it when all has left. A socket
therefore has at most that and the one frame that its application is waiting to have sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Any, Send], Awaitable[None]]

#: Seconds between two looks at a transport that is full.
LOOK_EVERY: Final = 0.05


class WebSocketBackpressure:
    """Lets an application's `send` return once the client is ready for more, or gone."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Pass the connection on, with a `send` that waits."""
        protocol = _protocol(send)

        async def patient(message: Message) -> None:
            await send(message)
            while _is_full(protocol):
                await asyncio.sleep(LOOK_EVERY)

        await self.application(scope, receive, patient)


def _protocol(send: Send) -> Any:
    """Return daphne's protocol, to which its `send` is bound; None under another server, which waits by itself."""
    return send.args[0] if isinstance(send, partial) and send.args else None


def _is_full(protocol: Any) -> bool:
    # Autobahn keeps the transport when the connection has ended; Twisted then says so.
    transport = getattr(protocol, "transport", None)
    return bool(getattr(transport, "connected", False) and getattr(transport, "producerPaused", False))
