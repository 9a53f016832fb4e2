"""Back-pressure for WebSockets: waits for slow clients, so that messages do not pile up in memory.

Daphne passes everything that the application sends to Twisted, which buffers it without limit until the client reads it. Other
ASGI servers wait in `send`; this does the same for daphne's WebSockets. Twisted pauses a transport's producer once 64 KiB are
waiting (and then reads nothing from that client either), and resumes it when the buffer is empty. So a socket buffers at most
that, and the one frame that its application is sending.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Any, Send], Awaitable[None]]

#: Seconds between two checks of a full transport.
CHECK_EVERY: Final = 0.05


class WebSocketBackpressure:
    """Makes an application's `send` return only once the client is ready for more, or disconnected."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Pass the connection on, with a `send` that waits."""
        protocol = _protocol(send)

        async def send_and_wait(message: Message) -> None:
            await send(message)
            while _is_full(protocol):
                await asyncio.sleep(CHECK_EVERY)

        await self.application(scope, receive, send_and_wait)


def _protocol(send: Send) -> Any:
    """Return daphne's protocol, to which its `send` is bound; None for another server, which waits by itself."""
    return send.args[0] if isinstance(send, partial) and send.args else None


def _is_full(protocol: Any) -> bool:
    # Autobahn keeps the transport after the connection has ended; Twisted's `connected` is then false.
    transport = getattr(protocol, "transport", None)
    return bool(getattr(transport, "connected", False) and getattr(transport, "producerPaused", False))
