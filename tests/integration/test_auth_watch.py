"""Open sockets of a real web process: they end within five seconds of what they were opened with."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests import stack as stacks
from tests.processes import free_port
from zenith_site.auth import watch as watching
from zenith_site.auth.tokens import create_token
from zenith_site.auth.watch import Credential, valid_credentials
from zenith_site.models import ApiToken

if TYPE_CHECKING:
    from tests.stack import Stack

pytestmark = pytest.mark.django_db(transaction=True)

WITHIN = 5.0


def token_credential(name: str, user: User) -> tuple[Credential, dict[str, str]]:
    token, raw = create_token(user, name, ["read"])
    return Credential("token", str(token.pk)), {"X-API-Key": raw}


def session_credential(name: str) -> tuple[Credential, dict[str, str]]:
    client = Client()
    client.force_login(User.objects.create_user(name, password="a long enough one"))
    key = client.cookies["sessionid"].value
    return Credential("session", key), {"Cookie": f"sessionid={key}"}


def log_out(key: str) -> None:
    client = Client()
    client.cookies["sessionid"] = key
    client.post("/logout/")


def change_password(name: str) -> None:
    user = User.objects.get(username=name)
    user.set_password("quite another one")
    user.save()


TOKENS: dict[str, Callable[[str], Any]] = {
    "revoked": lambda name: ApiToken.objects.filter(name=name).update(revoked_at=timezone.now()),
    "expired": lambda name: ApiToken.objects.filter(name=name).update(expires_at=timezone.now()),
    "lost its scope": lambda name: ApiToken.objects.filter(name=name).update(scopes=["dispatch"]),
    "deleted": lambda name: ApiToken.objects.filter(name=name).delete(),
}
SESSIONS: dict[str, Callable[[str, str], Any]] = {
    "logged out": lambda name, key: log_out(key),
    "timed out": lambda name, key: Session.objects.filter(pk=key).update(expire_date=timezone.now() - timedelta(seconds=1)),
    "deactivated": lambda name, key: User.objects.filter(username=name).update(is_active=False),
    "changed password": lambda name, key: change_password(name),
}


@pytest.fixture(scope="module")
def module_web(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, int]]:
    for stack in stacks.running(tmp_path_factory.mktemp("watch")):
        port = free_port()
        stack.web(port)
        yield stack, port


def answers(socket: ClientConnection) -> bool:
    socket.send(json.dumps({"type": "PING"}))
    return bool(json.loads(socket.recv(10))["type"] == "PONG")


def close_code(socket: ClientConnection, until: float) -> int | None:
    try:
        while True:
            socket.recv(max(0.0, until - time.monotonic()))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006
    except TimeoutError:
        return None


def test_a_socket_ends_with_what_it_was_opened_by(module_web: tuple[Stack, int], admin: User) -> None:
    port = module_web[1]
    credentials = {name: token_credential(name, admin) for name in (*TOKENS, "kept token")}
    credentials |= {name: session_credential(name) for name in (*SESSIONS, "kept session")}
    with ExitStack() as opened:
        sockets = {
            name: opened.enter_context(
                connect(f"ws://127.0.0.1:{port}/ws/tasks", additional_headers={**headers, "Origin": f"http://127.0.0.1:{port}"})
            )
            for name, (_, headers) in credentials.items()
        }
        assert all(answers(socket) for socket in sockets.values())
        for name, end in TOKENS.items():
            end(name)
        for name, leave in SESSIONS.items():
            leave(name, credentials[name][0].key)
        until = time.monotonic() + WITHIN
        codes = {name: close_code(sockets[name], until) for name in (*TOKENS, *SESSIONS)}
        assert codes == dict.fromkeys((*TOKENS, *SESSIONS), 4401)
        assert answers(sockets["kept token"])
        assert answers(sockets["kept session"])


@pytest.mark.parametrize("count", [1, 10])
def test_all_sockets_of_a_process_cost_three_queries(admin: User, count: int, django_assert_num_queries: Any) -> None:
    credentials = {token_credential("t", admin)[0] for _ in range(count)} | {
        session_credential(f"person{number}")[0] for number in range(count)
    }
    with django_assert_num_queries(3):
        assert valid_credentials(credentials) == credentials


@pytest.mark.parametrize("count", [0, 1])
def test_who_was_never_there_is_not_let_stay(db: None, count: int) -> None:
    credentials = [Credential("token", "1"), Credential("session", "x" * 32)][:count]
    assert valid_credentials(credentials) == set()


async def test_a_bug_in_looking_lets_nobody_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(credentials: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watching, "CHECK_EVERY", 0)
    monkeypatch.setattr(watching, "valid_credentials", fail)
    await asyncio.wait_for(watching.watch().until_invalid(Credential("token", "1")), 10)


async def test_a_database_that_is_away_shows_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([DatabaseError("gone"), {Credential("token", "1")}, set()])
    asked = []

    def answer(credentials: object) -> Any:
        asked.append(credentials)
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(watching, "CHECK_EVERY", 0)
    monkeypatch.setattr(watching, "valid_credentials", answer)
    await asyncio.wait_for(watching.watch().until_invalid(Credential("token", "1")), 10)
    assert len(asked) == 3
