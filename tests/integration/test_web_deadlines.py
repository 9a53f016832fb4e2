"""Connections to a real web process that would stay for ever, and sockets that are too many or say too much."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

from tests import stack as stacks
from tests.processes import free_port
from tests.waiting import eventually

if TYPE_CHECKING:
    from django.contrib.auth.models import User

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 30
SHORT = {
    "ZENITH_HEADER_TIMEOUT": "1",
    "ZENITH_BODY_TIMEOUT": "1",
    "ZENITH_SOCKETS_PER_USER": "3",
    "ZENITH_SOCKETS_PER_PROCESS": "5",
    "ZENITH_SOCKET_FRAME_LIMIT": "20/600s",
}


@pytest.fixture(scope="module")
def module_port(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[stacks.Stack, int]]:
    for stack in stacks.running(tmp_path_factory.mktemp("deadlines"), **SHORT):
        port = free_port()
        stack.web(port)
        yield stack, port


@pytest.fixture
def port(module_port: tuple[stacks.Stack, int], transactional_db: None) -> Iterator[int]:
    stack, port = module_port
    stack.news()
    yield port
    print(stack.news())  # noqa: T201 (pytest shows it for a failed test only)


def token(user: User) -> str:
    from zenith_site.auth.tokens import create_token

    return create_token(user, "test", ["read"])[1]


def opened(port: int, raw: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/ws/tasks", additional_headers={"X-API-Key": raw}, open_timeout=SECONDS)


def closing(client: ClientConnection) -> tuple[int | None, str, list[str]]:
    """Return the code and the reason with which the server closes a socket, and the errors that it sent before."""
    errors = []
    try:
        while True:
            frame = json.loads(client.recv(SECONDS))
            if frame["type"] == "ERROR":
                errors.append(frame["detail"])
    except ConnectionClosed:
        return client.close_code, client.close_reason or "", errors


def trickle(port: int, beginning: bytes, piece: bytes) -> bytes:
    """Send a request piece by piece, without end; return what is answered once the server has closed the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
        connection.sendall(beginning)
        deadline = time.monotonic() + SECONDS
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                with suppress(TimeoutError):
                    received = connection.recv(4096)
                    if not received:
                        return answer
                    answer += received
                connection.sendall(piece)
        assert time.monotonic() < deadline, "the connection stays open"
    return answer


def test_a_header_that_never_ends_is_answered_and_closed(port: int) -> None:
    answer = trickle(port, b"GET /login/ HTTP/1.1\r\nHost: localhost\r\n", b"X-More: 1\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_never_ends_is_answered_and_closed(port: int) -> None:
    answer = trickle(port, b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n", b"x")
    assert answer.startswith(b"HTTP/1.1 408 ")
    answer = trickle(port, b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_connection_is_used_again_long_after_the_deadlines(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.connect()
    kept = connection.sock
    for method, body in (("GET", None), ("POST", b"x"), ("GET", None)):
        connection.request(method, "/login/", body)
        assert connection.getresponse().read()
        time.sleep(2.5)  # longer than both deadlines
    assert connection.sock is kept
    connection.close()


def test_an_open_socket_outlives_the_deadlines(port: int, admin: User) -> None:
    with opened(port, token(admin)) as client:
        time.sleep(2.5)  # longer than both deadlines
        client.send('{"type": "PING"}')
        while json.loads(client.recv(SECONDS)) != {"type": "PONG"}:
            pass


@pytest.mark.parametrize("kind", ["messages", "pings", "pieces"])
def test_a_socket_that_says_too_much_is_closed_with_a_reason(port: int, admin: User, kind: str) -> None:
    def say_too_much() -> tuple[int | None, str] | None:
        with opened(port, token(admin)) as client:
            with suppress(ConnectionClosed):
                if kind == "pieces":
                    client.send("" for _ in range(100))
                for _ in range(100):
                    client.ping() if kind == "pings" else client.send('{"type": "PING"}')
            code, reason = closing(client)[:2]
        # A client that is still sending may see the connection end before it has read why.
        return None if code == CloseCode.ABNORMAL_CLOSURE else (code, reason)

    assert eventually(say_too_much) == (1008, "more than 20 frames in 600 s")


def test_a_user_has_so_many_sockets_whatever_tokens_they_come_with(port: int, admin: User, member: User) -> None:
    with ExitStack() as held:
        clients = [held.enter_context(opened(port, token(admin))) for _ in range(3)]
        with opened(port, token(admin)) as client:
            assert closing(client)[::2] == (4429, ["you have 3 sockets open; close one first"])
        # Others are let in, until the process is full.
        for _ in range(2):
            held.enter_context(opened(port, token(member)))
        with opened(port, token(member)) as client:
            assert closing(client)[::2] == (4429, ["this process has 5 sockets open; try again later"])
        clients[0].close()
        eventually(lambda: is_let_in(port, token(admin)))


def is_let_in(port: int, raw: str) -> bool:
    """Whether a socket is not refused at once."""
    with opened(port, raw) as client:
        client.send('{"type": "PING"}')
        try:
            return bool(json.loads(client.recv(SECONDS))["type"] != "ERROR")
        except ConnectionClosed:
            return False
