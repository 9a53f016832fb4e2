"""How large a WebSocket's frames may be, and how many may come, enforced where they are first known.

Only the protocol below the application can close with codes of the 1000s (RFC 6455, section 7.4.1): autobahn, on which daphne
stands, takes none of them from an application. It also refuses a frame before it has read it, so that a stranger cannot fill the
memory, and counts frames that an application never sees: pings, and pieces of messages.
"""

import time
from typing import Any, ClassVar

import daphne.ws_protocol

from zenith_site.common.callers import Rate


class BoundedSocket(daphne.ws_protocol.WebSocketProtocol):
    """daphne's WebSocket; one that sends too large a frame is closed with 1009, one that sends too many with 1008."""

    rate: ClassVar[Rate]
    _window_began = 0.0
    _frames = 0

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802 (autobahn's name)
        """Count a frame of a message."""
        self._count()
        super().onMessageFrameBegin(length)

    def onPing(self, payload: bytes) -> None:  # noqa: N802 (autobahn's name)
        """Count a ping."""
        self._count()
        super().onPing(payload)

    def onPong(self, payload: bytes) -> None:  # noqa: N802 (autobahn's name)
        """Count a pong."""
        self._count()
        super().onPong(payload)

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._window_began >= self.rate.seconds:
            self._window_began, self._frames = now, 0
        self._frames += 1
        if self._frames > self.rate.count and not self.failedByMe:
            detail = f"more than {self.rate.count} frames in {self.rate.seconds} s"
            self._fail_connection(self.CLOSE_STATUS_CODE_POLICY_VIOLATION, detail)


class WebSocketFactory(daphne.ws_protocol.WebSocketFactory):
    """daphne's factory, for WebSockets that have limits."""

    protocol = BoundedSocket


def limit_frames(size: int, rate: Rate) -> Any:
    """Return daphne's factory of WebSockets whose frames are at most `size` bytes, and come at most at `rate`."""
    BoundedSocket.rate = rate
    # autobahn reads its options from the protocol's class where they are set there.
    BoundedSocket.maxFramePayloadSize = size
    # Of a message in many frames; holds for what is sent, too, so it leaves room for a large update.
    BoundedSocket.maxMessagePayloadSize = 256 * size
    # Else the connection is dropped and the client never sees the code.
    BoundedSocket.failByDrop = False
    return WebSocketFactory
