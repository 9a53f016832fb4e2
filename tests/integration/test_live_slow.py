"""A client of `/ws/tasks` that does not read costs the server a bounded piece of memory, and learns that it is behind."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tasks_app.queries import feed
from tasks_app.recording import live
from tasks_app.recording.apply import apply
from tests.integration import test_live
from tests.integration.test_live import Open, ready, sleeps
from zenith_site.websocket_backpressure import WebSocketBackpressure
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

module_web = test_live.module_web
port, token, opened = test_live.port, test_live.token, test_live.opened


def record(count: int) -> int:
    """Record one event for each of so many new tasks, and return the newest one's id."""
    events = [
        Event(task_id=str(new_id()), status=Status.STARTED, at=time.time(), name="n" * 255, queue="q", worker="w" * 255)
        for _ in range(count)
    ]  # fmt: skip
    newest = apply(events)
    assert newest is not None
    live.poke(newest)
    return newest


class Idler:
    """A client that shakes hands, and reads only when it is told to."""

    def __init__(self, port: int, raw: str) -> None:
        self.socket = socket.socket()
        # Before connecting: it decides how much the kernel takes for us.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            f"GET /ws/tasks HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-API-Key: {raw}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.exactly(1)
        assert b" 101 " in head

    def exactly(self, count: int) -> bytes:
        """Read so many bytes."""
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the server closed the socket"
            data += piece
        return data

    def frame(self) -> dict[str, Any]:
        """Read the next frame of JSON; RFC 6455, section 5.2."""
        while True:
            first, second = self.exactly(2)
            length = second & 0x7F
            if length == 126:
                length = int.from_bytes(self.exactly(2))
            elif length == 127:
                length = int.from_bytes(self.exactly(8))
            payload = self.exactly(length)
            if first & 0x0F == 1:  # text, and not one of daphne's pings
                frame: dict[str, Any] = json.loads(payload)
                return frame

    def send(self, payload: bytes) -> None:
        """Send a short text frame, masked as a client's must be (with zeros)."""
        assert len(payload) < 126
        self.socket.sendall(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)


@contextmanager
def idling(port: int, raw: str) -> Iterator[Idler]:
    idler = Idler(port, raw)
    try:
        yield idler
    finally:
        idler.socket.close()


def test_a_client_that_stops_reading_is_told_to_refresh(opened: Open, port: int, token: str) -> None:
    with idling(port, token) as idler, opened() as other:
        idler.send(b'{"type": "PING"}')
        assert idler.frame() == {"type": "PONG"}
        ready(other)
        # What the kernel and the server take for it, and then more than is ever caught up with.
        commits = 30
        for _ in range(commits):
            newest = record(1000)
            while json.loads(other.recv(test_live.SECONDS))["event_id"] < newest:
                pass
        frames = []
        while not frames or frames[-1]["type"] != "REFRESH":
            frames.append(idler.frame())
        assert frames[-1]["event_id"] == newest
        got = sum(len(frame.get("tasks", ())) for frame in frames)
        # It did not get all that happened: nobody kept that for it.
        assert got < commits * 1000 - feed.MAX_BEHIND
        # From here on it is live again.
        (task_id,) = sleeps()
        frame = idler.frame()
        while {"task_id": task_id, "status": "QUEUED"}.items() - frame["tasks"][-1].items():
            frame = idler.frame()


class Transport:
    """As Twisted's, as far as it matters."""

    connected = True
    producerPaused = False  # noqa: N815 (Twisted's name)


class Protocol:
    """As daphne's."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.sent: list[Any] = []

    async def handle_reply(self, message: Any) -> None:
        self.sent.append(message)
        self.transport.producerPaused = True


async def sending(protocol: Protocol) -> asyncio.Task[None]:
    """Start an application that sends two messages over a protocol that is full after each."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"number": 1})
        await send({"number": 2})

    async def reply(protocol: Protocol, message: Any) -> None:
        await protocol.handle_reply(message)

    task = asyncio.create_task(WebSocketBackpressure(application)({}, None, partial(reply, protocol)))
    while not protocol.sent:
        await asyncio.sleep(0)
    return task


async def test_sending_waits_until_the_client_took_what_there_was() -> None:
    protocol = Protocol()
    task = await sending(protocol)
    await asyncio.wait([task], timeout=0.2)
    assert len(protocol.sent) == 1
    protocol.transport.producerPaused = False
    while len(protocol.sent) < 2:
        await asyncio.sleep(0.01)
    protocol.transport.producerPaused = False
    await asyncio.wait_for(task, 10)


async def test_nobody_waits_for_a_client_that_is_gone() -> None:
    protocol = Protocol()
    task = await sending(protocol)
    protocol.transport.connected = False
    await asyncio.wait_for(task, 10)
    assert len(protocol.sent) == 2


async def test_a_server_that_waits_itself_is_left_alone() -> None:
    sent = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"number": 1})

    async def send(message: Any) -> None:
        sent.append(message)

    await WebSocketBackpressure(application)({}, None, send)
    assert sent == [{"number": 1}]
