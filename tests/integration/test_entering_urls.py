"""Brokers' URLs that are entered in a form or sent to the API: only an engine reads them, and tests the connection."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from tasks_app.control import watching
from tasks_app.models import Application, ConnectionTest, EngineKey, Task
from tasks_app.watching import connection_tests, engine_key
from tasks_app.watching.applications import Watch, watch, why_unreachable
from tasks_app.watching.brokers import Broker, BrokerUnknownError, broker_of
from tasks_app.watching.connection_tests import ConnectionTester, NotTestedError
from tests.integration.conftest import ApiClient
from tests.waiting import eventually
from zenith_site.common.encryption import DecryptionError, decrypt, public_key, seal
from zenith_site.common.errors import StateConflictError
from zenith_site.models import AuditEntry
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of

SECRET = "correct-horse"
URL = f"redis://user:{SECRET}@broker.example:6390/3"
ENGINES = "the engines' secret key " * 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_tests, "LOOK_EVERY", 0.02)
    redis_client().flushdb()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, db: None) -> Callable[[], None]:
    """Engines have another secret key, and have told their public one; call it to be an engine from then on."""

    def become(key: str = ENGINES) -> None:
        monkeypatch.setattr(settings, "SECRET_KEY", key)

    own = settings.SECRET_KEY
    become()
    engine_key.tell()
    become(own)
    return become


@pytest.fixture
def administrator(admin: User) -> Client:
    admin.groups.add(Group.objects.get(name="admin"))
    visitor = Client(headers={"Accept": "text/html"})
    visitor.force_login(admin)
    return visitor


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of engines, each of which finds that nothing is wrong; unless its prefix says what is."""
    asked: list[tuple[Any, ...]] = []

    def ask(*question: Any) -> str:
        asked.append(question)
        return str(question[2]).removeprefix("wrong: ") if question[2].startswith("wrong: ") else ""

    monkeypatch.setattr(connection_tests, "ask", ask)
    return asked


# --- The key ---


def test_what_is_sealed_is_read_with_the_secret_key_of_the_public_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    public = public_key()
    sealed = seal(SECRET, "one", public)
    assert SECRET not in sealed
    assert seal(SECRET, "one", public) != sealed
    assert decrypt(sealed, "one") == SECRET
    for value, purpose in ((sealed, "two"), (sealed[:-6] + "AAAAA=", "one"), ("v2:", "one"), ("v2:" + "A" * 80, "one")):
        with pytest.raises(DecryptionError):
            decrypt(value, purpose)
    with pytest.raises(ValueError, match=r"padding|length|base64"):
        seal(SECRET, "one", "no key")
    monkeypatch.setattr(settings, "SECRET_KEY", ENGINES)
    with pytest.raises(DecryptionError):
        decrypt(sealed, "one")
    assert public_key() != public


def test_web_writes_a_url_that_only_an_engine_reads(engine: Callable[..., None]) -> None:
    row = watching.begin("shop", Watch(url=URL), test=False)
    assert SECRET not in row.broker
    with pytest.raises(BrokerUnknownError, match=r"on the application's page, or with .manage\.py watch shop"):
        broker_of(row)
    engine()
    assert broker_of(row).url == URL
    # Copied into another row, it is nothing.
    other = Application(name="clinic", kind="watched", broker=row.broker)
    with pytest.raises(BrokerUnknownError):
        broker_of(other)


@pytest.mark.django_db
def test_before_an_engine_has_started_nothing_is_entered() -> None:
    with pytest.raises(StateConflictError, match="No engine has started"):
        watching.begin("shop", Watch(url=URL), test=False)
    assert not Application.objects.filter(name="shop").exists()
    # The command runs with the engines' key if Zenith is set up in one piece, and no engine has started yet.
    row, _ = watch("shop", Watch(url=URL), engine_key.sealed_here)
    assert broker_of(row).url == URL


def test_an_engine_tells_its_public_key_when_it_starts_and_if_it_is_gone(engine: Callable[..., None]) -> None:
    told = EngineKey.objects.get()
    engine()
    now = [0.0]
    tester = ConnectionTester(clock=lambda: now[0])
    tester.run_once()
    assert EngineKey.objects.get().told_at == told.told_at
    engine("another key " * 4)
    now[0] += 100
    tester.run_once()
    assert EngineKey.objects.get().public == told.public
    ConnectionTester().run_once()
    assert EngineKey.objects.get().public == public_key() != told.public
    EngineKey.objects.all().delete()
    now[0] += 100
    tester.run_once()
    assert EngineKey.objects.get().public == public_key()


# --- Testing a connection ---


@pytest.mark.django_db(transaction=True)
def test_an_engine_tries_the_broker_and_says_why_it_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(os.environ["REDIS_URL"])
    password = f":{parts.password}@" if parts.password else ""
    here = f"redis://{password}{parts.hostname}:{parts.port}/13"
    with running(ConnectionTester()):
        assert connection_tests.ask(None, here, "", ("json",)) == ""
        refused = connection_tests.ask(None, f"redis://nobody:{SECRET}@{parts.hostname}:{parts.port}/13", "", ("json",))
        assert "refuses the user or the password" in refused
        assert SECRET not in refused
        row = watching.begin("shop", Watch(url=here), test=True)
        assert connection_tests.ask(row, None, "", ("json",)) == ""
        monkeypatch.setattr(settings, "SECRET_KEY", ENGINES)
        assert "cannot be read" in connection_tests.ask(row, None, "", ("json",))
        # The command asks an engine for what it cannot read.
        with pytest.raises(CommandError, match="cannot be watched: the broker's URL cannot be read"):
            call_command("watch", "shop", test=True)
    assert not ConnectionTest.objects.exists()


class running:  # noqa: N801 - reads as a statement
    """An engine's tester at work in a thread of its own."""

    def __init__(self, tester: ConnectionTester) -> None:
        self._tester, self._stop = tester, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.02):
                self._tester.run_once()
        finally:
            connection.close()

    def __enter__(self) -> None:
        # Not beside the first question, which asks for the key.
        engine_key.tell()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


def question(**values: Any) -> ConnectionTest:
    return ConnectionTest.objects.create(**{"asked_at": timezone.now(), "application": None, **values})


@pytest.mark.django_db
def test_a_test_that_takes_too_long_is_answered_and_its_url_removed() -> None:
    now, proceed = [1000.0], threading.Event()
    tester = ConnectionTester(lambda _: str(proceed.wait(30)), lambda: now[0])
    row, _ = watch("shop", Watch(url=URL))
    asked = question(application=row, url="sealed")
    tester.run_once()
    now[0] += connection_tests.TEST_WITHIN - 1
    tester.run_once()
    asked.refresh_from_db()
    assert (asked.taken_at is not None, asked.ended_at) == (True, None)
    now[0] += 2
    tester.run_once()
    asked.refresh_from_db()
    assert (asked.url, asked.reason) == ("", "it does not answer within 12 s")
    proceed.set()
    tester.run_once()


@pytest.mark.django_db
def test_few_tests_are_made_at_once_and_one_that_fails_stops_no_other() -> None:
    def why(broker: Broker) -> str:
        raise RuntimeError(broker.url)

    row, _ = watch("shop", Watch(url=URL))
    asked = [question(application=row) for _ in range(connection_tests.AT_ONCE + 2)]
    odd = question(url="v2:garbage")
    tester = ConnectionTester(why)
    tester.run_once()
    assert ConnectionTest.objects.filter(taken_at=None).count() == 3
    eventually(lambda: tester.run_once() or not ConnectionTest.objects.filter(ended_at=None).exists())
    assert set(ConnectionTest.objects.filter(pk__in=[one.pk for one in asked]).values_list("reason", flat=True)) == {
        "it cannot be used (RuntimeError)"
    }
    odd.refresh_from_db()
    assert "another ZENITH_SECRET_KEY" in odd.reason


@pytest.mark.django_db
def test_whoever_asks_waits_within_a_bound_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_tests, "ANSWER_WITHIN", 0.1)
    row, _ = watch("shop", Watch(url=URL))
    with pytest.raises(NotTestedError, match="none runs that observes"):
        connection_tests.ask(row, None, "", ("json",))
    assert not ConnectionTest.objects.exists()
    for _ in range(connection_tests.WAITING_AT_MOST):
        question(url="sealed", asked_at=timezone.now() - timezone.timedelta(minutes=2))
    with pytest.raises(NotTestedError, match="try again in a minute"):
        connection_tests.ask(row, None, "", ("json",))
    ConnectionTester(lambda _: "").run_once()
    assert not ConnectionTest.objects.exists()


# --- The form ---


def typed(**values: Any) -> dict[str, Any]:
    return {"name": "shop", "url": URL, "key_prefix": "", "serializers": "json", "enable_events": "on", **values}


def test_an_application_is_watched_changed_and_ended_by_the_form(
    administrator: Client, engine: Callable[..., None], answers: list[tuple[Any, ...]]
) -> None:
    page = administrator.get("/applications/new/watch/").content.decode()
    assert 'type="password"' in page
    assert administrator.post("/applications/new/watch/", typed(test="on")).headers["Location"] == "/applications/shop/"
    assert answers == [(None, URL, "", ("json",))]
    page = administrator.get("/applications/shop/").content.decode()
    assert "/applications/shop/watching/" in page
    assert "/applications/shop/end-watching/" in page
    page = administrator.get("/applications/shop/watching/").content.decode()
    assert "Leave empty to keep" in page
    changed = administrator.post(
        "/applications/shop/watching/", typed(url="", key_prefix="tills:", serializers="msgpack, json", enable_events="")
    )
    assert changed.status_code == 302
    row = Application.objects.get(name="shop")
    assert (row.key_prefix, row.serializers, row.enables_events) == ("tills:", "msgpack,json", False)
    heartbeat.write_heard([heartbeat.Heard("shop@one", {"pid": 0, "slots": 0, "busy": 0, "queues": [], "held": [],
                                                         "unknown": ["slots", "queues", "held"]}, 0.0)], "shop")  # fmt: skip
    question_ = administrator.get("/applications/shop/end-watching/").content.decode()
    assert "Stop watching shop?" in question_
    assert "the URL of the broker of shop, and its 1 listed workers" in question_
    assert "the application shop itself" in question_
    ended = administrator.post("/applications/shop/end-watching/")
    assert ended.headers["Location"] == "/applications/"
    assert not Application.objects.filter(name="shop").exists()
    entries = list(AuditEntry.objects.order_by("id"))
    assert [entry.action for entry in entries][-3:] == [
        "POST /applications/new/watch/", "POST /applications/<name:name>/watching/",
        "POST /applications/<name:name>/end-watching/",
    ]  # fmt: skip
    assert all(entry.detail["application"] == "shop" for entry in entries[-3:])
    engine()
    assert broker_of(row).url == URL
    assert SECRET not in f"{page}{question_}{[entry.__dict__ for entry in entries]}"


def test_a_connection_is_tested_before_it_is_saved(
    administrator: Client, engine: Callable[..., None], answers: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = typed(test="on", key_prefix="wrong: nothing listens at its host and port")
    refused = administrator.post("/applications/new/watch/", wrong)
    assert refused.status_code == 422
    page = refused.content.decode()
    assert "The broker cannot be watched: nothing listens at its host and port." in page
    assert not Application.objects.filter(name="shop").exists()
    # Whoever tries addresses does so on record.
    entry = AuditEntry.objects.latest("id")
    assert (entry.status, entry.detail["application"], entry.detail["tested"]) == (422, "shop", True)
    in_page = administrator.post("/applications/new/watch/", wrong | {"only_test": "1"}, headers={"HX-Request": "true"})
    assert in_page.content.decode().strip().startswith('<div id="tested"')
    usable = administrator.post("/applications/new/watch/", typed(only_test="1"))
    assert "The broker can be watched" in usable.content.decode()
    assert not Application.objects.filter(name="shop").exists()

    def away(*_: Any) -> str:
        raise NotTestedError("No engine tested the connection.")

    monkeypatch.setattr(connection_tests, "ask", away)
    untested = administrator.post("/applications/new/watch/", typed(test="on"))
    assert untested.status_code == 422
    assert "without the test it can be" in untested.content.decode()
    for response in (refused, in_page, usable, untested):
        assert SECRET not in response.content.decode()
        assert "broker.example" not in response.content.decode()


WRONG = [
    ({"url": f"sqs://{SECRET}@"}, "Amazon SQS carries neither"),
    ({"url": f"{SECRET}@host"}, "is not a broker"),
    ({"url": ""}, "This field is required"),
    ({"name": "Shop!"}, "letters, digits"),
    ({"name": "zenith"}, "is not zenith"),
    ({"name": "till"}, "its workers report to Zenith themselves"),
    ({"name": "clinic"}, "is watched already"),
    ({"serializers": "json pickle"}, "pickle is refused"),
    ({"key_prefix": "a:", "url": "amqp://broker.example//"}, "is for Redis only"),
]


def test_what_cannot_be_watched_is_said_beside_its_field(
    administrator: Client, engine: Callable[..., None], answers: list[tuple[Any, ...]]
) -> None:
    Application.objects.create(name="till", kind="attached")
    watching.begin("clinic", Watch(url=URL), test=False)
    for values, said in WRONG:
        response = administrator.post("/applications/new/watch/", typed(**values))
        page = response.content.decode()
        assert response.status_code == 422, said
        assert said in page, said
        assert "Nothing was saved" in page
        assert SECRET not in page
        assert "broker.example" not in page


def test_only_whoever_may_administer_sees_the_form(person: Client, engine: Callable[..., None]) -> None:
    """The roles themselves are in test_auth_doors.py and test_auth_applications.py."""
    watching.begin("shop", Watch(url=URL), test=False)
    for path in ("/applications/", "/applications/shop/"):
        page = person.get(path).content.decode()
        assert "/applications/new/watch/" not in page
        assert "/applications/shop/watching/" not in page
    User.objects.filter(username=person_name(person)).update(is_superuser=False)
    assert person.post("/applications/new/watch/", typed()).status_code == 403


def person_name(person: Client) -> str:
    return User.objects.get(pk=person.session["_auth_user_id"]).username


def test_an_application_that_is_not_watched_any_more_is_watched_again(
    administrator: Client, engine: Callable[..., None], answers: list[tuple[Any, ...]]
) -> None:
    row = watching.begin("shop", Watch(url=URL), test=False)
    Task.objects.create(
        id=key_of("a", "shop"), text_id="a", application=row, name="x", status="RECEIVED", created_at=timezone.now()
    )
    assert "what was recorded of shop" in administrator.get("/applications/shop/end-watching/").content.decode()
    administrator.post("/applications/shop/end-watching/")
    page = administrator.get("/applications/shop/").content.decode()
    assert "Not watched any more" in page
    assert administrator.post("/applications/shop/watching/", typed(url="")).status_code == 422
    assert administrator.post("/applications/shop/watching/", typed()).status_code == 302
    row.refresh_from_db()
    assert row.broker
    assert administrator.get("/applications/till/watching/").status_code == 404


# --- The API ---


def test_a_program_watches_changes_and_ends(api: ApiClient, engine: Callable[..., None], answers: list[tuple[Any, ...]]) -> None:
    path = "/api/v1/applications/shop/watching"
    made = api("admin", "read").post(path, {"url": URL}, content_type="application/json")
    assert made.status_code == 201
    assert made.json()["watching"] == {"has_url": True, "key_prefix": "", "serializers": ["json"], "enable_events": True}
    again = api("admin").post(path, {"url": URL}, content_type="application/json")
    assert again.status_code == 409
    wrong = api("admin").patch(path, {"key_prefix": "wrong: it asks for a password"}, content_type="application/json")
    assert wrong.status_code == 422
    assert wrong.json()["errors"] == [{"pointer": "/url", "detail": "its broker cannot be watched: it asks for a password"}]
    odd = api("admin").patch(path, {"url": f"sqs://{SECRET}@"}, content_type="application/json")
    assert odd.json()["errors"][0]["pointer"] == "/url"
    changed = api("admin").patch(path, {"enable_events": False, "test": False}, content_type="application/json")
    assert changed.json()["watching"]["enable_events"] is False
    assert api("admin").patch(path.replace("shop", "till"), {}, content_type="application/json").status_code == 404
    ended = api("admin").delete(path)
    assert ended.json() == {"name": "shop", "workers": 0, "unread": 0, "is_removed": True}
    assert api("operate").post(path, {"url": URL}, content_type="application/json").status_code == 403
    for response in (made, again, wrong, odd, changed, ended):
        assert SECRET not in response.content.decode()
    assert SECRET not in str(list(AuditEntry.objects.values()))


def test_connections_are_tested_beside_others() -> None:
    """kombu's channels share a dictionary: closing one may fail while another thread opens one."""
    parts = urlsplit(os.environ["REDIS_URL"])
    password = f":{parts.password}@" if parts.password else ""
    broker = Broker(f"redis://{password}{parts.hostname}:{parts.port}/13")
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: why_unreachable(broker), range(40))) == {""}
