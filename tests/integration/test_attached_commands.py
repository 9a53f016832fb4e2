"""An attached worker carries out what Zenith asks for with its own app, once, and reports what came of it."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery, Task
from celery.worker import state as worker_state
from kombu.exceptions import OperationalError

from tests.celery_apps import app_alone
from tests.waiting import eventually
from zenith_worker import attached_commands, sending
from zenith_worker.attached_commands import Commands
from zenith_worker.wire import catalogues, commands
from zenith_worker.wire.client import client
from zenith_worker.wire.commands import Kind
from zenith_worker.wire.events import Event, decode
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.states import Status

KEYS = application_keys("shop")
URL = os.environ["REDIS_URL"]
BROKER = f"{URL[: -len(urlsplit(URL).path)]}/9"


class Noted(Task):
    """The application's own way of sending."""

    abstract = True
    sent: list[str] = []  # noqa: RUF012
    fails_with: list[Exception] = []  # noqa: RUF012

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any) -> Any:
        if self.fails_with:
            raise self.fails_with[0]
        self.sent.append(str(task_id))
        return super().apply_async(args, kwargs, task_id, **options)


def add(x: int, y: int) -> int:
    return x + y


def slow(seconds: float) -> float:
    return seconds


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """Somebody's application, with a broker of its own."""
    client().flushdb()
    redis.Redis.from_url(BROKER).flushdb()
    Noted.sent, Noted.fails_with = [], []
    shop = app_alone(monkeypatch, "shop", broker=BROKER)
    shop.conf.task_routes = {"shop.slow": {"queue": "slow"}}
    shop.task(name="shop.add", base=Noted, shared=False)(add)
    shop.task(name="shop.slow", shared=False)(slow)
    # This process is Zenith's, with Zenith's database.
    monkeypatch.setattr(attached_commands, "_close_old_database_connections", lambda: None)
    yield shop
    shop.close()
    worker_state.revoked.clear()


@pytest.fixture
def worker(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The commands to a worker, which is stepped by hand."""
    monkeypatch.setattr(attached_commands, "BLOCK", 0.01)
    return Commands(app, "shop", lambda *_: None)


def ask(*bodies: dict[str, Any]) -> None:
    commands.hand_over("shop", [{"args": [], "kwargs": {}, "options": {}, **body} for body in bodies])


def work(worker: Commands) -> None:
    """Carry out all that there is."""
    worker._again_at = float("-inf")
    worker._step()
    worker._again_at = float("inf")
    worker._step()


def messages(queue: str = "celery") -> list[dict[str, Any]]:
    """The messages in a queue, oldest first."""
    return [json.loads(message) for message in reversed(redis.Redis.from_url(BROKER).lrange(queue, 0, -1))]


def call_of(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


def reported() -> dict[str, Event]:
    return {event.task_id: event for _, entry in client().xrange(KEYS.events) for event in decode(entry[b"e"])}


def test_a_task_is_sent_as_its_application_sends_it(app: Celery, worker: Commands) -> None:
    app.tasks["shop.add"].apply_async((1, 2), task_id="own")
    app.tasks["shop.slow"].apply_async((1,), task_id="own")
    ask({"id": "1", "task": "shop.add", "args": [1, 2]}, {"id": "2", "task": "shop.slow", "kwargs": {"seconds": 3}})
    work(worker)
    own, sent = messages()
    assert Noted.sent == ["own", "1"]
    differ = {"id", "root_id"}
    assert {**own["headers"], **dict.fromkeys(differ)} == {**sent["headers"], **dict.fromkeys(differ)}
    assert (sent["headers"]["id"], sent["headers"]["root_id"], sent["headers"]["parent_id"]) == ("1", "1", None)
    assert own["properties"].keys() == sent["properties"].keys()
    assert call_of(own) == call_of(sent)
    assert call_of(messages("slow")[1])[:2] == [[], {"seconds": 3}]
    events = reported()
    assert {id_: (event.status, event.queue, event.message) for id_, event in events.items()} == {
        "1": (Status.QUEUED, "celery", ""),
        "2": (Status.QUEUED, "slow", ""),
    }
    assert commands.waiting("shop") == 0


def test_a_queue_that_the_worker_did_not_know_is_none_that_it_consumes_later(app: Celery, worker: Commands) -> None:
    before = set(app.amqp.queues)
    ask(
        {"id": "1", "task": "shop.slow", "args": [1]},
        {"id": "2", "task": "shop.slow", "args": [1], "options": {"queue": "other"}},
    )
    work(worker)
    assert (len(messages("slow")), len(messages("other"))) == (1, 1)
    assert set(app.amqp.queues) == before


def test_options_are_those_of_apply_async(app: Celery, worker: Commands) -> None:
    follows = app.tasks["shop.slow"].si(1)
    options = {
        "queue": "north", "priority": 6, "expires": "2126-01-02T03:04:05Z", "time_limit": 9, "soft_time_limit": 8,
        "headers": {"shop": "north"}, "link": [dict(follows)], "link_error": [dict(follows)], "ignore_result": True,
        "shadow": "sum", "root_id": "root", "parent_id": "parent", "task_id": "forged",
    }  # fmt: skip
    ask({"id": "1", "task": "shop.add", "args": [1, 2], "options": options})
    work(worker)
    (sent,) = messages("north\x06\x166")
    headers, embed = sent["headers"], call_of(sent)[2]
    assert headers["id"] == "1"
    assert headers["expires"].startswith("2126-01-02T03:04:05")
    wanted = {
        "timelimit": [9, 8],
        "shop": "north",
        "ignore_result": True,
        "shadow": "sum",
        "root_id": "root",
        "parent_id": "parent",
    }
    assert {name: headers[name] for name in wanted} == wanted
    assert [part["task"] for part in (*embed["callbacks"], *embed["errbacks"])] == ["shop.slow", "shop.slow"]


def test_a_task_that_only_others_know_is_sent_by_its_name(worker: Commands) -> None:
    ask({"id": "1", "task": "elsewhere.add", "args": [1], "options": {"queue": "elsewhere"}})
    work(worker)
    (sent,) = messages("elsewhere")
    assert sent["headers"]["task"] == "elsewhere.add"


def test_nothing_is_run_in_this_process(app: Celery, worker: Commands) -> None:
    app.conf.task_always_eager = True
    app.tasks["shop.add"].priority = 3
    ask({"id": "1", "task": "shop.add", "args": ["no number", 2]})
    work(worker)
    (sent,) = messages("celery\x06\x163")
    assert (sent["headers"]["id"], reported()["1"].status) == ("1", Status.QUEUED)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"args": [1]}, "TypeError"), ({"args": {"x": 1}}, "MalformedCommandError"), ({"task": 7}, "MalformedCommandError"),
        ({"kwargs": None}, "MalformedCommandError"), ({"options": {"expires": "soon"}}, "MalformedCommandError"),
        ({"options": {"serializer": "unknown"}}, "SerializerNotInstalled"), ({"options": {"retry_policy": 7}}, "TypeError"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_sent_fails_and_the_next_is_sent(worker: Commands, body: dict[str, Any], kind: str) -> None:
    ask({"id": "1", "task": "shop.add", "args": [1, 2], **body}, {"id": "2", "task": "shop.add", "args": [1, 2]})
    work(worker)
    events = reported()
    assert (events["1"].status, events["1"].error_type) == (Status.FAILURE, kind)
    assert events["1"].error_message
    assert events["1"].message == "its application could not send it"
    assert json.loads(events["1"].result or "")["exc_type"] == kind
    assert events["2"].status == Status.QUEUED
    assert commands.waiting("shop") == 0


def test_the_applications_own_code_may_raise_anything_and_send_nothing(worker: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    Noted.fails_with = [FileNotFoundError("the list of customers")]
    ask({"id": "1", "task": "shop.add", "args": [1, 2]})
    work(worker)
    assert (reported()["1"].error_type, reported()["1"].error_message) == ("FileNotFoundError", "the list of customers")
    monkeypatch.setattr(Noted, "apply_async", lambda *_, **__: None)
    ask({"id": "2", "task": "shop.add", "args": [1, 2]})
    work(worker)
    assert (reported()["2"].status, reported()["2"].message) == (Status.QUEUED, sending.NOTHING_SENT)


@pytest.mark.parametrize("error", [OperationalError("away"), redis.ConnectionError("away"), ConnectionResetError("away")])
def test_while_the_broker_is_away_a_command_is_kept_and_others_are_carried_out(
    worker: Commands, error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_broker_answers", lambda _: False)
    Noted.fails_with = [error]
    ask({"id": "1", "task": "shop.add", "args": [1, 2]}, {"id": "2", "task": "shop.slow", "args": [1]})
    work(worker)
    work(worker)
    assert (commands.waiting("shop"), set(reported())) == (1, {"2"})
    assert caplog.text.count("the broker cannot be reached") == 1
    Noted.fails_with = []
    work(worker)
    assert (commands.waiting("shop"), reported()["1"].status) == (0, Status.QUEUED)


@pytest.mark.parametrize("error", [TimeoutError("the shop's cache"), redis.ConnectionError("the shop's cache")], ids=repr)
def test_while_the_broker_answers_the_applications_own_services_are_what_is_away(worker: Commands, error: Exception) -> None:
    Noted.fails_with = [error]
    ask({"id": "1", "task": "shop.add", "args": [1, 2]})
    work(worker)
    assert (reported()["1"].status, reported()["1"].error_message) == (Status.FAILURE, "the shop's cache")
    assert commands.waiting("shop") == 0


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//", "nothing://"])
def test_a_broker_that_cannot_be_reached_does_not_answer(monkeypatch: pytest.MonkeyPatch, broker: str) -> None:
    away = app_alone(monkeypatch, "shop", broker=broker)
    assert sending.is_broker_away(away, ConnectionRefusedError("away"))


def test_threads_that_fork_at_once_give_the_lock_back() -> None:
    sending._wait_for_message()
    try:
        with ThreadPoolExecutor(1) as other:
            other.submit(sending._wait_for_message).result()
            other.submit(sending._go_on).result()
    finally:
        sending._go_on()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(sending._at_work.acquire, timeout=1).result(), "nobody holds it any more"
        other.submit(sending._at_work.release).result()


def test_what_cannot_be_confirmed_is_not_sent_twice(worker: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise redis.ConnectionError("away")

    ask({"id": "1", "task": "shop.add", "args": [1, 2]})
    with monkeypatch.context() as outage:
        outage.setattr(attached_commands.commands, "confirm", away)
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                work(worker)
    work(worker)
    assert (Noted.sent, commands.waiting("shop"), reported()["1"].status) == (["1"], 0, Status.QUEUED)


def test_a_worker_that_stood_still_leaves_what_others_took_over(worker: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_others_take_over(self: Noted, *arguments: Any, task_id: str, **options: Any) -> Any:
        if task_id == "2":
            client().xclaim(KEYS.commands, commands.GROUP, "another", 0, [found[2].id])
        return apply_async(self, *arguments, task_id=task_id, **options)

    apply_async = Noted.apply_async
    monkeypatch.setattr(Noted, "apply_async", as_others_take_over)
    monkeypatch.setattr(attached_commands, "OWNED_FOR", -1.0)
    ask(*({"id": id_, "task": "shop.add", "args": [1, 2]} for id_ in "1234"))
    found = commands.read("shop", count=10)
    work(worker)
    assert (Noted.sent, commands.waiting("shop")) == (["1", "2", "4"], 1)


def test_what_was_sent_is_reported_although_redis_lost_everything_meanwhile(
    worker: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(attached_commands, "NOTHING_YET", 0.0)
    monkeypatch.setattr(attached_commands, "PAUSE", 0.0)
    ask({"id": "1", "task": "shop.add", "args": [1, 2]}, {"id": "2", "task": "shop.add", "args": [1, 2]})
    with monkeypatch.context() as outage:
        outage.setattr(attached_commands.commands, "confirm", away)
        with pytest.raises(redis.ConnectionError) as lost:
            work(worker)
    worker._wait_after(lost.value)
    client().flushdb()
    with pytest.raises(redis.ResponseError, match=r"^NOGROUP") as empty:
        worker._step()
    worker._wait_after(empty.value)
    assert reported()["1"].status == Status.QUEUED
    ask({"id": "1", "task": "shop.add", "args": [1, 2]}, {"id": "2", "task": "shop.add", "args": [1, 2]})
    work(worker)
    assert (Noted.sent, reported().keys(), commands.waiting("shop")) == (["1", "2"], {"1", "2"}, 0)


def test_a_command_of_a_kind_that_nobody_knows_is_removed(worker: Commands) -> None:
    commands.hand_over("shop", [])
    for written in (
        {"kind": "later", "id": "1"},
        {"kind": "send"},
        {"kind": "send", "id": 7},
        {"kind": "revoke", "ids": [3]},
        [],
    ):
        client().xadd(KEYS.commands, {"c": json.dumps(written)})
    client().xadd(KEYS.commands, {"c": json.dumps({"kind": "revoke", "ids": ["1"], "signal": ["SIGKILL"]})})
    ask({"id": "2", "task": "shop.add", "args": [1, 2]})
    work(worker)
    events = reported()
    assert {id_: event.status for id_, event in events.items()} == {"1": Status.FAILURE, "2": Status.QUEUED}
    assert "knows no command 'later'" in events["1"].error_message
    assert commands.waiting("shop") == 0


@pytest.mark.parametrize(("signal", "terminate"), [(None, False), ("SIGKILL", True)])
def test_tasks_are_revoked_on_all_workers(
    app: Celery, worker: Commands, monkeypatch: pytest.MonkeyPatch, signal: str | None, terminate: bool
) -> None:
    revoked: list[Any] = []
    monkeypatch.setattr(app.control, "revoke", lambda ids, **options: revoked.append((ids, options)))
    commands.hand_over("shop", [])
    commands.ask("shop", Kind.REVOKE, {"ids": ["1", "", 2, "3"], **({"signal": signal} if signal else {})})
    work(worker)
    assert revoked == [(["1", "3"], {"terminate": terminate, "signal": signal or "SIGTERM"})]
    assert commands.waiting("shop") == 0


def test_a_worker_that_starts_refuses_what_was_cancelled(worker: Commands) -> None:
    commands.remember_cancelled("shop", ["1", "2"])
    worker_state.revoked.add("1")
    worker._look_up_cancelled()
    assert "2" not in worker_state.revoked, "only the worker's loop changes the set"
    worker.refuse_cancelled()
    assert {"1", "2"} <= set(worker_state.revoked)


def test_the_thread_goes_on_whatever_holds_something_else(
    worker: Commands, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seconds in (("PAUSE", 0.02), ("NOTHING_YET", 0.02), ("CANCELLED_EVERY", 0.0), ("BLOCK", 0.1)):
        monkeypatch.setattr(attached_commands, name, seconds)
    for key in (KEYS.commands, KEYS.cancelled):
        client().set(key, "something else")
    thread = threading.Thread(target=worker._run, daemon=True)
    thread.start()
    try:
        eventually(lambda: "Commands from Zenith cannot be read" in caplog.text)
        assert worker.digest == "", "it takes no commands"
        client().delete(KEYS.commands)
        eventually(lambda: worker.digest)
        assert list(catalogues.read("shop", [worker.digest])) == [worker.digest]
        ask({"id": "1", "task": "shop.add", "args": [1, 2]})
        eventually(lambda: "1" in reported())
        client().delete(KEYS.cancelled)
        commands.remember_cancelled("shop", ["9"])
        eventually(lambda: worker._cancelled)
    finally:
        worker._end()
        thread.join(5)
    assert caplog.text.count("Commands from Zenith cannot be read") == 1
    assert not thread.is_alive()


def test_a_catalogue_that_redis_lost_is_written_again_and_a_new_task_makes_a_new_one(app: Celery, worker: Commands) -> None:
    worker.catalogue.refresh()
    first = worker.catalogue.digest
    client().delete(KEYS.catalogue)
    worker.catalogue._look_at = 0.0
    worker.catalogue.refresh()
    assert told_under(first) == {"shop.add", "shop.slow"}
    app.task(name="shop.later", shared=False)(slow)
    worker.catalogue.refresh()
    second = worker.catalogue.digest
    assert told_under(second) == {"shop.add", "shop.slow", "shop.later"}


def told_under(digest: str) -> set[str]:
    """The tasks of a catalogue, without those that other tests' modules share with every application."""
    return {name for name in json.loads(catalogues.read("shop", [digest])[digest]) if name.startswith("shop.")}
