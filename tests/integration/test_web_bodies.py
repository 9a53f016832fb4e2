"""Bodies that a real web process is sent: none is read beyond the limit, and none holds the others up."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings

from tests import stack as stacks
from tests.processes import Process, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
MIB = 1024 * 1024
#: What kernels keep on their way from one socket to the other.
UNDER_WAY = 16 * MIB
SECONDS = 30


class Web:
    """A web process and what it is asked."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        """Open a connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def ask(self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=not isinstance(body, bytes | None))
            answer = connection.getresponse()
            return answer.status, answer.read()

    def most_memory(self) -> int:
        """Return the most memory that the process ever had, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def module_web(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[stacks.Stack, Web]]:
    for stack in stacks.running(tmp_path_factory.mktemp("web")):
        port = free_port()
        yield stack, Web(stack.web(port), port)


@pytest.fixture
def web(module_web: tuple[stacks.Stack, Web], transactional_db: None) -> Iterator[Web]:
    stack, web = module_web
    stack.news()
    yield web
    print(stack.news())  # noqa: T201 (pytest shows it for a failed test only)


@pytest.fixture
def stack(module_web: tuple[stacks.Stack, Web], transactional_db: None) -> stacks.Stack:
    return module_web[0]


def head(*fields: str, method: str = "POST", path: str = "/no/such") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", "")).encode()


def multipart(size: int) -> tuple[bytes, str]:
    """Return a form of as many parts as go into so many bytes, and its type."""
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return part * (size // len(part)) + b"--x--\r\n", "multipart/form-data; boundary=x"


def urlencoded(size: int) -> tuple[bytes, str]:
    return b"a=&" * (size // 3), "application/x-www-form-urlencoded"


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return the status and the body of the next answer."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection."""
    try:
        return select.select([connection], (), (), 0)[0] != [] and connection.recv(4096) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("form", [multipart, urlencoded])
def test_a_form_of_very_many_fields_takes_little_memory_and_holds_nobody_up(web: Web, form: object) -> None:
    body, kind = form(LIMIT - 100)  # type: ignore[operator]
    before = web.most_memory()
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(web.ask, "POST", "/no/such", body, Content_Type=kind, Cookie="csrftoken=" + 32 * "a")
        while not sent.done():
            assert web.ask("GET", "/login/")[0] == 200
        assert sent.result()[0] == 400
    assert web.most_memory() - before < 100 * MIB


def test_a_form_is_still_read(web: Web) -> None:
    cookie = "csrftoken=" + 32 * "a"
    form = {"csrfmiddlewaretoken": 32 * "a", "username": "nobody", "password": "guess"}
    part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    parts = "".join(part.format(*item) for item in form.items()) + "--x--\r\n"
    for body, kind in (
        (urlencode(form), "application/x-www-form-urlencoded"),
        (parts, "multipart/form-data; boundary=x"),
    ):
        status, page = web.ask("POST", "/login/", body.encode(), Content_Type=kind, Cookie=cookie)
        assert (status, b'value="nobody"' in page) == (200, True)


def test_a_declared_length_over_the_limit_is_refused_before_anything_is_sent(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(head(f"Content-Length: {LIMIT + 1}"))
        status, body = read_answer(connection)
        assert (status, json.loads(body)["status"]) == (413, 413)
        eventually(lambda: is_closed(connection))


def test_who_asks_before_sending_is_not_told_to_go_on(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(head(f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        received = b"".join(iter(lambda: connection.recv(4096), b""))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_chunked_body_without_end_is_refused_at_the_limit(web: Web) -> None:
    before = web.most_memory()
    sent = 0
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with web.connect() as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        while not select.select([connection], (), (), 0)[0]:
            connection.sendall(chunk)
            sent += len(chunk)
            assert sent < LIMIT + UNDER_WAY
        assert read_answer(connection)[0] == 413
        # It goes on sending all the same.
        with suppress(ConnectionError):
            while sent < 10 * LIMIT:
                connection.sendall(chunk)
                sent += len(chunk)
        assert sent < 2 * LIMIT + 2 * UNDER_WAY
    assert web.most_memory() - before < 50 * MIB
    assert web.ask("GET", "/login/")[0] == 200


def test_a_body_in_very_many_pieces_is_refused(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        with suppress(ConnectionError):
            for _ in range(20):
                connection.sendall(b"1\r\nx\r\n" * 10_000)
        assert read_answer(connection)[0] == 413


def test_who_sends_all_before_reading_hears_that_it_was_too_much(web: Web) -> None:
    body = b"x" * (LIMIT + MIB)
    assert web.ask("POST", "/no/such", body)[0] == 413
    assert web.ask("POST", "/no/such", iter([body]), Transfer_Encoding="chunked")[0] == 413


def test_a_body_of_just_the_limit_is_read(web: Web) -> None:
    body = b"x" * LIMIT
    assert web.ask("POST", "/no/such", body)[0] == 404
    assert web.ask("POST", "/no/such", iter([body[:MIB], body[MIB:]]), Transfer_Encoding="chunked")[0] == 404


def test_a_refused_body_is_not_taken_for_the_next_request(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        for _ in range(LIMIT // 0x10000 + 1):
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        connection.sendall(b"0\r\n\r\n" + head(method="GET", path="/login/"))
        received = b""
        with suppress(ConnectionError):
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("path", ["/broken", "/broken?after=a+line"])
def test_an_answer_that_breaks_ends_and_does_not_look_whole(stack: stacks.Stack, path: str) -> None:
    port = free_port()
    process = stack.start("broken", "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "tests.broken_answer:application")
    web = Web(process, port)
    eventually(lambda: _answers(web))
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)):
        web.ask("GET", path)
    assert web.ask("GET", "/login/")[0] == 200


def _answers(web: Web) -> bool:
    with suppress(OSError):
        return web.ask("GET", "/login/")[0] == 200
    return False
