"""Remote control of attached workers: who may, what is refused on either side, and what is said when nobody answers.

tests/attached/test_control.py has real workers.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.models import Application
from tests.celery_apps import app_alone
from tests.integration.conftest import ApiClient
from tests.waiting import eventually
from zenith_site.models import ApplicationLimit, AuditEntry
from zenith_worker.attached_control import RemoteControl
from zenith_worker.wire import commands, control, heartbeat
from zenith_worker.wire.client import client
from zenith_worker.wire.control import Answers
from zenith_worker.wire.keys import application_keys

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = application_keys("shop")
URL = os.environ["REDIS_URL"]
BROKER = f"{URL[: -len(urlsplit(URL).path)]}/9"
NAME = "celery@till"
TOKEN = "0" * 32


@pytest.fixture(autouse=True)
def shop() -> Application:
    client().flushdb()
    Application.objects.create(name="clinic", kind="attached")
    return Application.objects.create(name="shop", kind="attached")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.2)
    monkeypatch.setattr(control, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(control, "ANSWERED_WITHIN", 0.1)


def beat(name: str = NAME, application: str = "shop", ability: str = "on", **more: Any) -> None:
    about = heartbeat.About(pool="prefork", catalogue="d", control=ability, **more)
    heartbeat.write(name, slots=4, busy=1, queues=["tills"], application=application, about=about)


def body(command: str = "ping", workers: Any = (NAME,), token: Any = TOKEN, **arguments: Any) -> dict[str, Any]:
    return {"command": command, "arguments": arguments, "workers": list(workers), "token": token}


# --- The worker that passes a command on ---


@pytest.fixture
def passes_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], RemoteControl]]:
    """Makes what passes commands on, for an application with this broker."""
    apps: list[Celery] = []

    def make(broker: str = BROKER) -> RemoteControl:
        apps.append(app_alone(monkeypatch, "shop", broker=broker))
        return RemoteControl(apps[-1], "shop", lambda *_: None)

    yield make
    for app in apps:
        app.close()


def answered(remote: RemoteControl, written: dict[str, Any]) -> dict[str, Any]:
    """What is left under the token once the command was carried out."""
    commands.ask("shop", commands.Kind.CONTROL, written)
    (command,) = commands.read("shop", count=10)
    remote.carry_out(command)
    raw = eventually(lambda: client().get(KEYS.control + TOKEN))
    assert 0 < client().pttl(KEYS.control + TOKEN) <= 10_000
    client().delete(KEYS.control + TOKEN)
    assert commands.waiting("shop") == 0
    return dict(json.loads(raw))


@pytest.mark.parametrize(
    "written",
    [
        body("pool_restart", modules=["os"]), body("revoke", task_id="x"), body("shutdown", workers=[]), body("pool_grow", n="1"),
        body("pool_grow", n=True), body("pool_grow", n=100_000), body("add_consumer", queue="q", exchange="e"),
        body("add_consumer", queue=["q"]), body("time_limit", task_name="t", soft=-1), body(["ping"]), body(workers=["x"] * 21),
        body(workers=[3]), {**body(), "arguments": None}, body("time_limit", task_name="t" * 300),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_command_of_zeniths_is_refused_by_the_worker_too(
    written: dict[str, Any], passes_on: Callable[..., RemoteControl], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = answered(passes_on("nothing://"), written)
    assert found["answers"] == {}
    assert found["error"].startswith("refused: ")


def test_a_command_is_sent_once_and_workers_that_do_not_answer_are_left_out(
    passes_on: Callable[..., RemoteControl], quick: None
) -> None:
    assert answered(passes_on(), body("pool_grow", n=1)) == {"answers": {}, "error": ""}
    assert answered(passes_on(), body("shutdown")) == {"answers": {NAME: {"ok": "told to shut down"}}, "error": ""}


def test_a_broker_that_is_away_is_said_without_its_address(passes_on: Callable[..., RemoteControl]) -> None:
    found = answered(passes_on("redis://:secret@127.0.0.1:1/0"), body())
    assert found["error"].startswith("its broker did not take it (")
    assert "127.0.0.1" not in found["error"]


def test_what_nobody_waits_for_any_more_is_dropped(passes_on: Callable[..., RemoteControl], quick: None) -> None:
    commands.ask("shop", commands.Kind.CONTROL, body("shutdown"))
    (command,) = commands.read("shop", count=10)
    old = int(command.id.partition("-")[0]) - 60_000
    passes_on().carry_out(command._replace(id=f"{old}-0"))
    assert commands.take("shop", command.id), "that one is still there"
    passes_on().carry_out(command)
    assert not client().exists(KEYS.control + TOKEN), "somebody else has taken it"


# --- The server ---


def test_what_nobody_takes_is_withdrawn(api: ApiClient, quick: None) -> None:
    beat()
    answer = api("operate").post(f"/api/v1/workers/{NAME}/shut-down?application=shop")
    assert answer.status_code == 504
    assert "No worker of shop took the command within 0.2 s. It was withdrawn" in answer.json()["detail"]
    assert commands.waiting("shop") == 0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What an application's worker was told; it obeys."""
    found: list[tuple[Any, ...]] = []

    def ask(application: str, command: str, arguments: dict[str, Any], workers: list[str]) -> Answers:
        found.append((application, command, arguments, workers))
        return Answers({name: {"ok": "as you wish\x00\ud800"} for name in workers})

    monkeypatch.setattr(control, "ask", ask)
    return found


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b'{"answers": {"celery@till": {"error": "unknown task"}}, "error": ""}', "refused: unknown task"),
        (b'{"answers": {"other": {"ok": 1}}, "error": ""}', "did not answer within 2 s"),
        (b'{"answers": {}, "error": "its broker is away"}', "its broker is away"),
        (b'{"answers": [], "error": ""}', "cannot be read"),
        (b'{"answers": ' + b"[" * 60_000, "cannot be read"),
        (b"9" * 70_000, "cannot be read"),
    ],
    ids=range(6),
)
def test_the_answer_is_an_applications_word_and_checked(api: ApiClient, reply: bytes, words: str) -> None:
    beat()

    def worker() -> None:
        for command in commands.read("shop", count=1, block=5):
            assert commands.take("shop", command.id)
            client().set(KEYS.control + command.body["token"], reply, px=5000)

    commands.hand_over("shop", [])
    thread = threading.Thread(target=worker)
    thread.start()
    answer = api("operate").post(f"/api/v1/workers/{NAME}/ping?application=shop")
    thread.join()
    assert answer.status_code in (409, 504)
    assert words in answer.json()["detail"]


def test_keys_of_another_type_are_said(api: ApiClient) -> None:
    beat()
    client().set(KEYS.commands, "mine")
    answer = api("operate").post(f"/api/v1/workers/{NAME}/ping?application=shop")
    assert answer.status_code == 409
    assert "Commands to shop cannot be written" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("ability", "words"), [("off", "worker_enable_remote_control is off there"), ("none", "does not carry it"), ("", "older")]
)
def test_a_worker_that_takes_no_remote_control_is_not_asked(
    api: ApiClient, person: Client, told: list[Any], ability: str, words: str
) -> None:
    beat(ability=ability)
    answer = api("operate").post(f"/api/v1/workers/{NAME}/ping?application=shop")
    assert (answer.status_code, told) == (409, [])
    assert words in answer.json()["detail"]
    page = person.get(f"/workers/{NAME}/?application=shop").content.decode()
    assert words in page
    assert "/shut-down/" not in page


def test_a_page_tells_the_worker_of_its_application_and_shows_what_it_answered(person: Client, told: list[Any]) -> None:
    beat()
    beat(application="clinic")
    heartbeat.write(NAME, slots=4, busy=0, queues=["default"])
    page = person.get(f"/workers/{NAME}/?application=shop").content.decode()
    assert f'href="/workers/{NAME}/grow/?application=shop"' in page
    question = person.get(f"/workers/{NAME}/grow/?application=shop").content.decode()
    assert f'action="/workers/{NAME}/grow/?application=shop"' in question
    done = person.post(f"/workers/{NAME}/grow/?application=shop", {"slots": "2"}, follow=True)
    assert done.redirect_chain == [(f"/workers/{NAME}/?application=shop", 302)]
    assert f"{NAME} confirmed the command. It answered: as you wish" in done.content.decode()
    assert told == [("shop", "pool_grow", {"n": 2}, [NAME])]
    entry = AuditEntry.objects.get(path=f"/workers/{NAME}/grow/")
    assert {name: entry.detail[name] for name in ("worker", "command", "application", "slots")} == {
        "worker": NAME, "command": "grow", "application": "shop", "slots": 2,
    }  # fmt: skip


def test_programs_name_the_application_and_nothing_unknown(api: ApiClient, told: list[Any]) -> None:
    beat()
    path = f"/api/v1/workers/{NAME}"
    answer = api("operate").post(f"{path}/ping?application=shop").json()
    assert (answer["worker"], answer["answer"]) == (NAME, "as you wish\ufffd\ufffd")
    assert api("operate").post(f"{path}/ping").status_code == 404, "Zenith has none of that name"
    assert api("operate").post(f"{path}/shut-down?aplication=shop").status_code == 422
    assert api("operate").post(f"{path}/ping?application=nothing").status_code == 404
    assert AuditEntry.objects.get(path=f"{path}/ping", status=200).detail["application"] == "shop"
    assert [row[1] for row in told] == ["ping"]


def test_whoever_is_limited_to_other_applications_finds_no_worker(person: Client, api: ApiClient, told: list[Any]) -> None:
    beat()
    user = User.objects.get(username="olga")
    ApplicationLimit.objects.create(user=user, applications=["clinic"])
    beat(application="clinic")
    token = api("operate", user=user)
    for path in (f"/workers/{NAME}/grow/?application=shop", f"/workers/{NAME}/shut-down/?application=shop"):
        assert person.get(path).status_code == 404
        assert person.post(path, {"slots": "1"}).status_code == 404
    assert token.post(f"/api/v1/workers/{NAME}/shut-down?application=shop").status_code == 404
    assert token.post(f"/api/v1/workers/{NAME}/shut-down").status_code == 403
    assert person.post(f"/workers/{NAME}/shut-down/").status_code == 403
    assert told == []
    assert token.post(f"/api/v1/workers/{NAME}/ping?application=clinic").status_code == 200
    assert [row[0] for row in told] == ["clinic"]
