"""A connection that refuses a request without reading the rest of it.

The answer is written at once. Closing at once as well would make the kernel reset the connection while the client still sends,
and the client would never see the answer; so the connection stays for a moment, in which what still comes is thrown away
(RFC 9112, section 9.6).
"""

from http import HTTPStatus
from typing import Any, Final

import daphne.http_protocol
from twisted.internet.interfaces import IAddress
from twisted.web.http import HTTPChannel

from zenith_site import problems
from zenith_site.headers import HEADERS
from zenith_site.server_limits.bodies import BoundedRequest

#: How long, in seconds, and how much, in bytes, a client may go on sending what nobody reads.
LINGER_SECONDS: Final = 5
LINGER_BYTES: Final = 16 * 1024 * 1024


class BoundedConnection(HTTPChannel):
    """An HTTP/1.1 connection, on which a request can be refused before it has come to its end."""

    _thrown_away: int | None = None

    def refuse(self, answer: problems.Answer) -> None:
        """Answer the request that is being read, and read nothing more."""
        self._thrown_away = 0
        self.persistent = False
        self.write(_http_response(answer))
        self.setTimeout(LINGER_SECONDS)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Read what has come, or throw it away."""
        if self._thrown_away is None:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES:
            self.loseConnection()


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
