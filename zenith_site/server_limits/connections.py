"""A connection that refuses a request without reading the rest of it: one that is too large, or too slow.

A request has a deadline for its header and one for its body, however often another byte arrives. Twisted has only a time-out
between two pieces, so a client that sends a byte a minute would keep a connection for ever.

The response is written immediately. If the connection were also closed immediately, the kernel would reset it while the client
still sends, and the client would never see the response. So the connection lingers, and what still arrives is discarded
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

#: How long, in seconds, and how much, in bytes, a client may keep sending after a refusal.
LINGER_SECONDS: Final = 5
LINGER_BYTES: Final = 16 * 1024 * 1024


class BoundedConnection(HTTPChannel):
    """An HTTP/1.1 connection that can refuse a request before it is complete."""

    header_timeout: ClassVar[int]
    body_timeout: ClassVar[int]
    #: Seconds between two requests; Twisted's `timeOut` is the value that was set last.
    _idle_timeout: float | None = None
    #: Whether a request is being received or answered, and how many bytes were discarded after a refusal.
    _receiving = False
    _answering = False
    _discarded: int | None = None

    def refuse(self, answer: problems.Answer) -> None:
        """Answer the request that is being received, and read nothing more."""
        self._discarded = 0
        self.persistent = False
        self.write(_http_response(answer))
        self.setTimeout(LINGER_SECONDS)

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        """Wait for the first request."""
        self._idle_timeout = self.timeOut
        super().connectionMade()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Read the data, or discard it after a refusal."""
        if self._discarded is None:
            if not self._receiving and not self._answering:
                self._receiving = True
                self.setTimeout(self.header_timeout)
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        self._discarded += len(data)
        if self._discarded > LINGER_BYTES:
            self.loseConnection()

    def resetTimeout(self) -> None:  # noqa: N802 (Twisted's name)
        """Do nothing: another piece does not extend the deadline."""

    def allHeadersReceived(self) -> None:  # noqa: N802 (Twisted's name)
        """Start the body's deadline."""
        self.setTimeout(self.body_timeout)
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:  # noqa: N802 (Twisted's name)
        """Pass the request on, and wait for its response without a deadline; ignore the end of a refused request."""
        if self._discarded is None:
            self._receiving, self._answering = False, True
            # Twisted uses it again once the request is answered.
            self.setTimeout(self._idle_timeout)
            super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Request) -> None:  # noqa: N802 (Twisted's name)
        """Continue with the next request, which may have arrived already."""
        self._answering = False
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def timeoutConnection(self) -> None:  # noqa: N802 (Twisted's name)
        """Refuse a request that is too slow; close a connection without a request."""
        if self._receiving and self._discarded is None:
            self.refuse(problems.TOO_SLOW)
        else:
            super().timeoutConnection()  # type: ignore[no-untyped-call]


class HTTPFactory(daphne.http_protocol.HTTPFactory):
    """daphne's factory, for connections and requests with limits."""

    protocol = BoundedConnection

    def buildProtocol(self, addr: IAddress) -> Any:  # noqa: N802 (Twisted's name)
        """Return a connection."""
        connection = super().buildProtocol(addr)
        connection.requestFactory = BoundedRequest
        return connection

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 (Twisted's name)
        """Return the protocols for TLS: an HTTP/2 connection would have none of these limits."""
        return [b"http/1.1"]


def _http_response(answer: problems.Answer) -> bytes:
    response = problems.render(answer)
    fields = {**HEADERS, **response.headers, "Content-Length": str(len(response.content)), "Connection": "close"}
    status = HTTPStatus(response.status_code)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin1") + response.content
