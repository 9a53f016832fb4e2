"""Relay TCP connections: containers reach the test's servers, which listen on loopback only, through the Docker bridge.

    python -m tests.docker.relay LISTEN_ADDRESS PORT…

Listens on each port at that address, and forwards to the same port on loopback.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Relay one direction until it ends."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(address: str, port: int) -> None:
    """Listen on one port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    server = await asyncio.start_server(connected, address, port)
    await server.serve_forever()


async def main(address: str, ports: list[int]) -> None:
    """Listen on all ports."""
    await asyncio.gather(*(serve(address, port) for port in ports))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
