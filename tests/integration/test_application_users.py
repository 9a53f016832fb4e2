"""An application with a Redis user of its own can report for itself, and do nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from io import StringIO

import pytest
import redis
from django.core.management import CommandError, call_command

from tasks_app.maintenance import application_users
from tasks_app.maintenance.applications import take_in
from tasks_app.models import Application
from zenith_worker.wire import client as wire_client
from zenith_worker.wire import commands
from zenith_worker.wire.client import client
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import APPLICATIONS, EVENTS, application_keys
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db
KEYS = application_keys("shop")


@pytest.fixture(autouse=True)
def no_users() -> Iterator[None]:
    client().flushdb()
    yield
    client().execute_command("ACL", "DELUSER", "zenith-app-shop", "zenith-app-clinic")


def add(name: str) -> str:
    output = StringIO()
    call_command("applications", "add", name, "--json", stdout=output)
    return str(json.loads(output.getvalue())["url"])


def test_it_is_made_with_the_line_that_its_workers_need() -> None:
    output, told = StringIO(), StringIO()
    call_command("applications", "add", "shop", stdout=output, stderr=told)
    url = application_users.url("shop")
    assert output.getvalue() == f"export ZENITH_URL='{url}' ZENITH_APPLICATION=shop\n"
    assert "has its password" in told.getvalue()
    row = Application.objects.get(name="shop")
    assert (row.kind, row.isolated, row.first_heard_at) == ("attached", True, None)
    assert redis.Redis.from_url(url).ping()
    assert add("shop") == url, "again: the same"
    assert add("clinic") != url
    assert Application.objects.count() == 3


def test_its_user_writes_its_own_keys() -> None:
    own = redis.Redis.from_url(add("shop"))
    own.xadd(KEYS.events, {"e": "[]"})
    with own.pipeline(transaction=True) as pipe:
        pipe.sadd(KEYS.workers, "w")
        pipe.set(f"{KEYS.worker}w", "{}", px=1000)
        pipe.execute()
    own.hset(KEYS.dropped, "p", 1)
    own.set(KEYS.about, "{}")
    assert own.hexists(KEYS.catalogue, "digest") is False
    own.hset(KEYS.catalogue, "digest", "{}")
    own.srem(KEYS.workers, "w")
    own.delete(f"{KEYS.worker}w")


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", EVENTS, "*", "e", "[]"), ("XADD", application_keys("clinic").events, "*", "e", "[]"),
        ("HSET", APPLICATIONS, "clinic", "{}"), ("SET", "zenith:claim:x", "1"), ("DEL", EVENTS), ("SADD", "zenith:workers", "w"),
        ("XREADGROUP", "GROUP", "workers", "w", "STREAMS", application_keys("clinic").commands, ">"),
        ("XREADGROUP", "GROUP", "recorder", "w", "STREAMS", EVENTS, ">"),
        ("XPENDING", application_keys("clinic").commands, "workers"),
        ("ZRANGE", application_keys("clinic").cancelled, "0", "-1"), ("HEXISTS", application_keys("clinic").catalogue, "x"),
        ("EXISTS", application_keys("clinic").about), ("XGROUP", "CREATE", KEYS.commands, "other", "0", "MKSTREAM"),
        # Of its own keys, it reads what Zenith asks of it; and nothing can be administered.
        ("XRANGE", KEYS.events, "-", "+"), ("GET", KEYS.about), ("KEYS", "*"), ("FLUSHDB",), ("CONFIG", "GET", "*"),
        ("ACL", "LIST"), ("EVAL", "return 1", "0"), ("SUBSCRIBE", "zenith"), ("PUBLISH", "zenith", "x"),
        ("RENAME", KEYS.about, "x"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_its_user_can_do_nothing_else(command: tuple[str, ...]) -> None:
    own = redis.Redis.from_url(add("shop"))
    with pytest.raises(redis.exceptions.NoPermissionError):
        own.execute_command(*command)


@pytest.fixture
def as_shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lets this process be one of shop's from now on."""

    def become() -> None:
        monkeypatch.setattr(wire_client, "_url", application_users.url("shop"))
        wire_client.keep_own_client()

    yield become
    monkeypatch.undo()
    del wire_client._own.client


def test_its_user_reads_and_confirms_what_zenith_asks_of_it(as_shop: Callable[[], None]) -> None:
    add("shop")
    commands.hand_over("shop", [{"id": "1", "task": "shop.add"}])
    commands.remember_cancelled("shop", ["2"])
    as_shop()
    (command,) = commands.read("shop", count=10)
    assert (command.kind, command.body["id"]) == ("send", "1")
    assert commands.read("shop", count=10, again=True) == [command]
    assert commands.take_over("shop", count=10) == []
    assert commands.cancelled("shop") == ["2"]
    commands.confirm("shop", [command], [Event(task_id="1", status=Status.QUEUED, at=time.time())])
    assert commands.read("shop", count=10, again=True) == []


def test_the_user_of_an_earlier_release_gets_the_rights_of_this_one_and_keeps_its_password() -> None:
    url = add("shop")
    commands.hand_over("shop", [])
    client().execute_command("ACL", "SETUSER", "zenith-app-shop", "resetpass", ">older", "-xreadgroup", "+get")
    own = redis.Redis.from_url(url.replace(application_users.password("shop"), "older"))
    application_users._renewed.clear()
    take_in()
    assert own.xreadgroup("workers", "w", {KEYS.commands: ">"}) in ([], {})
    with pytest.raises(redis.exceptions.NoPermissionError):
        own.get(KEYS.about)


def test_what_others_say_in_its_name_does_not_count() -> None:
    add("shop")
    client().hset(APPLICATIONS, "shop", '{"main": "forged"}')
    client().set(KEYS.about, '{"main": "shop.app", "celery": "5.3.6"}')
    take_in()
    row = Application.objects.get(name="shop")
    assert (row.main, row.celery_version) == ("shop.app", "5.3.6")
    assert row.first_heard_at is not None
    client().delete(KEYS.about)
    client().rpush(KEYS.about, "something else")
    take_in()
    assert Application.objects.get(name="shop").main == "shop.app"


def test_a_redis_that_forgot_its_users_gets_them_again() -> None:
    url = add("shop")
    client().execute_command("ACL", "DELUSER", "zenith-app-shop")
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis.from_url(url).ping()
    take_in()
    assert redis.Redis.from_url(url).ping()


@pytest.mark.parametrize("name", ["", "Shop", "zenith", "a b", "-", "x" * 51, "shop\n", "*"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="at most 50 lower-case letters"):
        call_command("applications", "add", name)
    assert not Application.objects.filter(isolated=True).exists()


def test_a_redis_that_refuses_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise redis.exceptions.NoPermissionError("this user has no permissions to run the 'acl|setuser' command")

    monkeypatch.setattr(application_users, "grant", refuse)
    with pytest.raises(CommandError, match="Redis does not let Zenith make its user"):
        call_command("applications", "add", "shop")
    assert not Application.objects.filter(name="shop").exists()


def test_its_page_says_that_it_is_isolated(person: object) -> None:
    add("shop")
    shown = person.get("/applications/shop/").content.decode()  # type: ignore[attr-defined]
    assert "Isolated: it has a Redis user of its own" in shown
    assert application_users.password("shop") not in shown
