"""A connection that refuses a request without reading the rest of it: one that is too large, or that comes too slowly.

A request has a deadline for its header and one for its body, however often another byte of it comes. Twisted knows only one
time-out, for the time between two pieces: whoever sends a byte a minute keeps a connection for ever.

The answer is written at once. Closing at once as well would make the kernel reset the connection while the client still sends,
and the client would never see the answer; so the connection stays for a moment, in which what still comes is thrown away
(RFC 9112, section 9.6).
"""

from http import HTTPStatus
from typing import Any, ClassVar, Final

import daphne.http_protocol
from twisted.internet.interfaces import IAddress
from twisted.web.http import HTTPChannel, Request

from zenith_site import problems
from zenith_site.headers import HEADERS
from zenith_site.server_limits.bodies import BoundedRequest

#: How long, in seconds, and how much, in bytes, a client may go on sending what nobody reads.
LINGER_SECONDS: Final = 5
LINGER_BYTES: Final = 16 * 1024 * 1024


class BoundedConnection(HTTPChannel):
    """An HTTP/1.1 connection, on which a request can be refused before it has come to its end."""

    header_timeout: ClassVar[int]
    body_timeout: ClassVar[int]
    #: Seconds from one request to the next; Twisted's `timeOut` is whatever was set last.
    _idle_timeout: float | None = None
    #: Whether a request is coming in; whether one is being answered; how much was thrown away after a refusal.
    _receiving = False
    _answering = False
    _thrown_away: int | None = None

    def refuse(self, answer: problems.Answer) -> None:
        """Answer the request that is being read, and read nothing more."""
        self._thrown_away = 0
        self.persistent = False
        self.write(_http_response(answer))
        self.setTimeout(LINGER_SECONDS)

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        """Wait for the first request."""
        self._idle_timeout = self.timeOut
        super().connectionMade()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Read what has come, or throw it away."""
        if self._thrown_away is None:
            if not self._receiving and not self._answering:
                self._receiving = True
                self.setTimeout(self.header_timeout)
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES:
            self.loseConnection()

    def resetTimeout(self) -> None:  # noqa: N802 (Twisted's name)
        """Grant no more time for a piece that has come."""

    def allHeadersReceived(self) -> None:  # noqa: N802 (Twisted's name)
        """Begin the body's time."""
        self.setTimeout(self.body_timeout)
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:  # noqa: N802 (Twisted's name)
        """Pass the request on, and wait for as long as its answer takes; of one that was refused, the end changes nothing."""
        if self._thrown_away is None:
            self._receiving, self._answering = False, True
            # Twisted comes back to it once the request is answered.
            self.setTimeout(self._idle_timeout)
            super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Request) -> None:  # noqa: N802 (Twisted's name)
        """Go on to the next request, which may have come already."""
        self._answering = False
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def timeoutConnection(self) -> None:  # noqa: N802 (Twisted's name)
        """Say that a request was too slow; close a connection without one."""
        if self._receiving and self._thrown_away is None:
            self.refuse(problems.TOO_SLOW)
        else:
            super().timeoutConnection()  # type: ignore[no-untyped-call]


class HTTPFactory(daphne.http_protocol.HTTPFactory):
    """daphne's factory, for connections and requests that have limits."""

    protocol = BoundedConnection

    def buildProtocol(self, addr: IAddress) -> Any:  # noqa: N802 (Twisted's name)
        """Return a connection."""
        connection = super().buildProtocol(addr)
        connection.requestFactory = BoundedRequest
        return connection

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 (Twisted's name)
        """Name what is spoken over TLS: a connection of HTTP/2 would know none of the limits."""
        return [b"http/1.1"]


def _http_response(answer: problems.Answer) -> bytes:
    response = problems.render(answer)
    fields = {**HEADERS, **response.headers, "Content-Length": str(len(response.content)), "Connection": "close"}
    status = HTTPStatus(response.status_code)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin1") + response.content
