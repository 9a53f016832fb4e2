"""A request whose body ends at a limit, and which leaves the forms in it to Django; an answer that breaks comes to an end.

Twisted would keep a body of any size on disk, and parse the forms in it in the event loop, whoever sent them and wherever to:
a form of 10 MiB with very many parts held up all other requests for 20 s and took 1.2 GB. Django parses in a thread, and stops
at DATA_UPLOAD_MAX_NUMBER_FIELDS.
"""

from typing import Any, ClassVar, Final

from daphne.http_protocol import WebRequest

from zenith_site import problems

#: Bytes that the pieces of a large body have at least, on average. Each costs the event loop some microseconds: a million chunks
#: of one byte held up all other requests for seconds.
PIECE: Final = 256


class BoundedRequest(WebRequest):
    """daphne's request with at most `limit` bytes of body; one over it is answered with 413 as soon as that is known."""

    limit: ClassVar[int]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "parsePOSTFormSubmission": False})
        self._left = self.limit
        self._pieces_left = self.limit // PIECE

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted's name)
        """Begin to read a body; a chunked one has no length."""
        if length is not None and length > self.limit:
            self._refuse()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Keep a piece of the body."""
        if self._left < 0:
            return
        self._left -= len(data)
        self._pieces_left -= 1
        if min(self._left, self._pieces_left) < 0:
            self._refuse()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Pass the request on to the application, unless it was refused."""
        if self._left >= 0:
            super().requestReceived(command, path, version)

    def handle_exception(self, exception: Exception) -> None:
        """End an answer that broke after it had begun: daphne would leave its client waiting for ever.

        The connection is closed before the answer's end, so that nobody takes what has come for all of it.
        """
        if self._response_started:
            self.loseConnection()
        else:
            super().handle_exception(exception)

    def _refuse(self) -> None:
        self._left = -1
        # Else Twisted adds that the client may go on.
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse(problems.TOO_LARGE)
