"""Limits the size and the rate of a WebSocket's frames, in the protocol below the application.

Only that protocol can close with codes of the 1000s (RFC 6455, section 7.4.1): autobahn, which daphne uses, accepts none of them
from an application. It also refuses a frame before reading it, so that nobody can fill the memory, and counts frames that an
application never sees: pings, and parts of messages.
"""

import time
from typing import Any, ClassVar

import daphne.ws_protocol

from zenith_site.common.callers import Rate


class BoundedSocket(daphne.ws_protocol.WebSocketProtocol):
    """daphne's WebSocket; one that sends too large a frame is closed with 1009, one that sends too many with 1008."""

    rate: ClassVar[Rate]
    _window_start = 0.0
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
        if now - self._window_start >= self.rate.seconds:
            self._window_start, self._frames = now, 0
        self._frames += 1
        if self._frames > self.rate.count and not self.failedByMe:
            detail = f"more than {self.rate.count} frames in {self.rate.seconds} s"
            self._fail_connection(self.CLOSE_STATUS_CODE_POLICY_VIOLATION, detail)


class WebSocketFactory(daphne.ws_protocol.WebSocketFactory):
    """daphne's factory, for WebSockets with limits."""

    protocol = BoundedSocket


def limit_frames(size: int, rate: Rate) -> Any:
    """Return a factory of WebSockets whose frames have at most `size` bytes and arrive at most at `rate`."""
    BoundedSocket.rate = rate
    # autobahn reads options from the protocol's class if they are set there.
    BoundedSocket.maxFramePayloadSize = size
    # For a message in many frames. It limits sent messages too, so it leaves room for a large update.
    BoundedSocket.maxMessagePayloadSize = 256 * size
    # Otherwise the connection is dropped and the client never sees the close code.
    BoundedSocket.failByDrop = False
    return WebSocketFactory
