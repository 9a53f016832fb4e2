"""What tests of the API and of the doors share: people, tokens, and clients that carry them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from django.test import Client

if TYPE_CHECKING:
    from django.contrib.auth.models import User

ApiClient = Callable[..., Client]


@pytest.fixture(scope="module", autouse=True)
def empty_redis() -> None:
    """Begin each file with an empty Redis: what a worker said before it was killed is believed for a while."""
    from zenith_worker.wire import stream

    stream.client().flushdb()


@pytest.fixture(autouse=True)
def forgotten_catalogues() -> None:
    """Begin each test without what this process knows of applications' tasks: their keys come again."""
    from tasks_app import catalog

    catalog.forget()


@pytest.fixture
def admin(db: None) -> User:
    """A superuser."""
    from django.contrib.auth.models import User

    return User.objects.create_superuser("root", password="a long enough one")


@pytest.fixture
def member(db: None) -> User:
    """A user without any permission of their own."""
    from django.contrib.auth.models import User

    return User.objects.create_user("member", password="a long enough one")


@pytest.fixture
def person(db: None) -> Client:
    """A browser in which an operator is logged in."""
    from django.contrib.auth.models import Group, User

    user = User.objects.create_user("olga", password="a long enough one")
    user.groups.add(Group.objects.get(name="operator"))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


@pytest.fixture
def api(admin: User) -> ApiClient:
    """Makes clients with a token of the admin's (or another user's) and these scopes."""
    from zenith_site.auth.tokens import create_token

    def make(*scopes: str, user: User | None = None) -> Client:
        _, raw = create_token(user or admin, "test", scopes or ("read", "dispatch", "operate"))
        return Client(headers={"X-API-Key": raw})

    return make


@pytest.fixture
def redis_away(settings: pytest.FixtureRequest) -> Iterator[None]:
    """Points the rate limiter and the login at a port where nothing listens."""
    from zenith_site.auth import throttle
    from zenith_site.common import limits

    settings.ZENITH_REDIS_URL = "redis://127.0.0.1:1/0"  # type: ignore[attr-defined]
    for cached in (limits._limiter, throttle.client):
        cached.cache_clear()
    yield
    for cached in (limits._limiter, throttle.client):
        cached.cache_clear()


@pytest.fixture
def database_away(transactional_db: None) -> Iterator[None]:
    """Points new connections of this thread at a port where nothing listens."""
    from django.db import connection

    port = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = "1"
    yield
    connection.close()
    connection.settings_dict["PORT"] = port
