"""A request with a limited body, whose forms Django parses, and whose response ends even if it breaks.

Twisted would store a body of any size on disk, and parse its forms in the event loop, before any authentication: a form of 10 MiB
with very many parts blocked all other requests for 20 s and took 1.2 GB. Django parses in a thread, and stops at
DATA_UPLOAD_MAX_NUMBER_FIELDS.
"""

from typing import Any, ClassVar, Final

from daphne.http_protocol import WebRequest

from zenith_site import problems

#: The minimum average size of a large body's pieces, in bytes. Each costs the event loop some microseconds: a million chunks of
#: one byte blocked all other requests for seconds.
PIECE: Final = 256


class BoundedRequest(WebRequest):
    """daphne's request with at most `limit` bytes of body; a larger one is answered with 413 as soon as that is known."""

    limit: ClassVar[int]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "parsePOSTFormSubmission": False})
        self._bytes_left = self.limit
        self._pieces_left = self.limit // PIECE

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted's name)
        """Start to read a body; a chunked one has no length."""
        if length is not None and length > self.limit:
            self._refuse()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Store a piece of the body."""
        if self._bytes_left < 0:
            return
        self._bytes_left -= len(data)
        self._pieces_left -= 1
        if min(self._bytes_left, self._pieces_left) < 0:
            self._refuse()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Pass the request on to the application, unless it was refused."""
        if self._bytes_left >= 0:
            super().requestReceived(command, path, version)

    def handle_exception(self, exception: Exception) -> None:
        """End a response that broke after it had begun: daphne would leave its client waiting for ever.

        The connection is closed before the response's end, so that the client does not take it for complete.
        """
        if self._response_started:
            self.loseConnection()
        else:
            super().handle_exception(exception)

    def _refuse(self) -> None:
        self._bytes_left = -1
        # Otherwise Twisted adds that the client may continue.
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse(problems.TOO_LARGE)
