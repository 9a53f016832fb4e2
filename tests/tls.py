"""A TLS endpoint in front of a server of a test, with a certificate of its own authority, and nothing of it in the server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from tests.docker.relay import copy
from tests.proxy import certify


@contextmanager
def tls(directory: Path, port: int) -> Iterator[tuple[int, Path]]:
    """Speak TLS as `localhost` on a port that is yielded with the certificate that trusts it, in front of `port`."""
    certificate = certify(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, directory / "key.pem")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    async def serve() -> int:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        return int(server.sockets[0].getsockname()[1])

    loop = asyncio.new_event_loop()
    # What a peer that refuses the certificate leaves behind is its own matter.
    loop.set_exception_handler(lambda *_: None)
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(serve(), loop).result(20), certificate
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
