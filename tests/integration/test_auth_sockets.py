"""Who opened a WebSocket: a token, or a session from a page of this site; else a stranger."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import Client

from zenith_site.auth.sockets import SocketAuth, is_own_origin
from zenith_site.auth.tokens import create_token
from zenith_site.models import ApiToken

pytestmark = pytest.mark.django_db(transaction=True)
OWN = "http://localhost:8000"


async def opened(**headers: str) -> dict[str, Any]:
    """The scope as a consumer would see it."""
    seen: dict[str, Any] = {}

    async def consumer(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        caller = scope["caller"]
        seen["name"] = await sync_to_async(caller.user.get_username)() if caller else ""

    raw = [(name.replace("_", "-").encode(), value.encode("latin1")) for name, value in headers.items()]
    scope = {
        "type": "websocket",
        "path": "/ws/tasks",
        "headers": [(b"host", b"localhost:8000"), *raw],
    }
    try:
        await SocketAuth(consumer)(scope, None, None)
    finally:
        # The thread's own; nobody else would close it before the test database is dropped.
        await sync_to_async(connections.close_all)()
    return seen


@pytest.fixture
def cookie(admin: Any) -> str:
    client = Client()
    client.force_login(admin)
    return f"sessionid={client.cookies['sessionid'].value}"


async def test_a_session_from_a_page_of_this_site_is_known(cookie: str) -> None:
    scope = await opened(cookie=cookie, origin=OWN)
    assert (scope["name"], scope["caller"].scopes) == ("root", None)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:9999",
        "https://localhost.evil.example",
        "null",
        "",
        "http://[",
        "localhost:8000",
    ],
)
async def test_a_session_from_a_page_of_another_site_is_a_stranger(cookie: str, origin: str) -> None:
    assert (await opened(cookie=cookie, origin=origin))["name"] == ""


async def test_a_session_without_an_origin_is_a_stranger(cookie: str) -> None:
    assert (await opened(cookie=cookie))["name"] == ""


async def test_no_session_is_a_stranger(db: None) -> None:
    assert (await opened(origin=OWN))["name"] == ""


@pytest.fixture
def reading(admin: Any) -> tuple[ApiToken, str]:
    return create_token(admin, "t", ["read"])


async def test_a_token_is_known_whatever_the_origin(reading: tuple[ApiToken, str]) -> None:
    token, raw = reading
    for headers in (
        {"x_api_key": raw},
        {"authorization": f"Bearer {raw}"},
        {"x_api_key": raw, "origin": "http://x"},
    ):
        scope = await opened(**headers)
        assert (scope["name"], scope["caller"].key) == ("root", f"token:{token.pk}")


async def test_a_wrong_token_is_a_stranger_even_with_a_session(cookie: str) -> None:
    scope = await opened(x_api_key="zen_wrong", cookie=cookie, origin=OWN)
    assert (scope["name"], scope["caller"]) == ("", None)


def test_a_trusted_origin_is_one_of_ours(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://zenith.example.com", "https://*.example.org"]
    for origin in ("https://zenith.example.com", "https://a.example.org"):
        assert is_own_origin({"host": "10.0.0.1", "origin": origin})
    for origin in (
        "http://zenith.example.com",
        "https://example.net",
        "https://zenith.example.com:444",
    ):
        assert not is_own_origin({"host": "10.0.0.1", "origin": origin})


def test_a_host_that_is_not_ours_makes_no_origin_ours(settings: Any) -> None:
    assert not is_own_origin({"host": "evil.example", "origin": "http://evil.example"})


def test_with_https_a_page_without_it_is_not_ours(settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    assert not is_own_origin({"host": "localhost:8000", "origin": OWN})
    assert is_own_origin({"host": "localhost", "origin": "https://localhost"})
