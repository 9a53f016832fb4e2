"""Remote control of a watched application's workers: how a request travels, who may, and what is said if nobody obeys.

tests/attached/test_control.py has real workers.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from celery import Celery
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from kombu.connection import Connection

from tasks_app.control import workers
from tasks_app.dispatch import cancel_watched
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.cancel_attached import RequestedCancellations
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.errors import CommandWithdrawnError, WorkerSilentError
from tasks_app.models import Application, Task, TaskEvent
from tasks_app.queries.detail import detail
from tasks_app.watching import observer_state, requests
from tasks_app.watching.answering import Answering
from tasks_app.watching.applications import Watch, watch
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import broker_of, celery_of
from tasks_app.watching.observer_state import ObserverState
from tests.integration.conftest import ApiClient
from tests.integration.watching import broker_url
from tests.waiting import eventually
from zenith_site.common.errors import StateConflictError
from zenith_site.models import ApplicationLimit, AuditEntry
from zenith_worker.wire import control, heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.control import Answers
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import OBSERVER_REQUESTS
from zenith_worker.wire.states import Status, position

pytestmark = pytest.mark.django_db(transaction=True)

ONE, TWO = "shop@one", "shop@two"
SECRET = "correct-horse"


@pytest.fixture(autouse=True)
def shop() -> Application:
    """A watched application whose observer says that it listens, with two workers."""
    redis_client().flushdb()
    redis.Redis.from_url(broker_url()).flushdb()
    row, _ = watch("shop", Watch(url=broker_url()))
    listens()
    for name in (ONE, TWO):
        beat(name)
    return row


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that soon withdraw what nobody takes."""
    monkeypatch.setattr(control, "PATIENCE", 0.3)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are silent are given up sooner."""
    monkeypatch.setattr(control, "ANSWERED_WITHIN", 1.0)


def listens(reason: str = "") -> None:
    observer_state.write("shop", ObserverState(listens=not reason, reason=reason, since=time.time()))


def beat(name: str, **more: Any) -> None:
    body = {"pid": 7, "slots": 2, "busy": 0, "queues": ["later", "tills"], "held": [], "pool": "prefork", "unknown": [], **more}
    heartbeat.write_heard([heartbeat.Heard(name, body, 0.0)], "shop")


class Worker:
    """Answers remote control as Celery's own worker does, with these handlers, and keeps what it was told."""

    def __init__(self, name: str, **handlers: Callable[..., Any]) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._name = name
        self._handlers = {command: self._noting(command, handler) for command, handler in handlers.items()}
        self._stop, self._ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _noting(self, command: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        def handle(_: Any, **arguments: Any) -> Any:
            self.told.append((command, arguments))
            return handler(**arguments)

        return handle

    def _run(self) -> None:
        app = Celery("shop", broker=broker_url(), set_as_current=False)
        with app.connection_for_read() as connection:
            node = app.control.mailbox.Node(self._name, channel=connection.default_channel, handlers=self._handlers)
            node.listen()
            while not self._stop.is_set():
                with suppress(socket.timeout):
                    connection.drain_events(timeout=0.1)
                self._ready.set()
        app.close()


def ok(**_: Any) -> dict[str, str]:
    return {"ok": "as you wish"}


def fails(**_: Any) -> Any:
    raise ValueError("not here")


@pytest.fixture
def staff() -> Iterator[Callable[..., Worker]]:
    """Makes workers that answer."""
    made: list[Worker] = []

    def make(name: str = ONE, **handlers: Callable[..., Any]) -> Worker:
        made.append(Worker(name, **{"ping": lambda: {"ok": "pong"}, "revoke": ok, **handlers}))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


@pytest.fixture
def remote(shop: Application, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Carries out requests as the observer of shop does; a list that grows whenever workers may have changed."""
    monkeypatch.setattr("tasks_app.watching.answering.BLOCK", 0.2)
    changes: list[str] = []
    stop = threading.Event()
    watched = Watched(shop.pk, "shop", broker_of(shop))
    answering = Answering(watched, celery_of, stop, lambda _: None, lambda: changes.append("changed"))
    thread = threading.Thread(target=answering.run, daemon=True)
    thread.start()
    yield changes
    stop.set()
    thread.join(10)


# --- A request ---


def written(**changes: Any) -> str:
    """A request as a server appends it."""
    body = {"command": "ping", "arguments": {}, "workers": [ONE], "token": "0" * 32, "until": time.time() + 60}
    return json.dumps({**body, **changes})


def append(*entries: str) -> None:
    redis_client().rpush(OBSERVER_REQUESTS + "shop", *entries)


def test_a_request_is_carried_out_once_and_never_late() -> None:
    append(written(), written(), written(token="1" * 32, until=time.time() - 60))
    taken = requests.take("shop", 1)
    assert taken is not None
    assert (taken.request.command, 0 < taken.seconds <= control.PATIENCE) == ("ping", True)
    assert [requests.take("shop", 1), requests.take("shop", 1), requests.take("shop", 0.1)] == [None] * 3


def test_what_nobody_takes_in_time_is_withdrawn_and_what_is_taken_is_not(impatient: None) -> None:
    with pytest.raises(CommandWithdrawnError, match=r"No observer of shop took the command within 0\.3 s\. It was withdrawn"):
        requests.ask("shop", "ping", {}, [ONE])
    assert requests.take("shop", 0.1) is None
    # It is taken, and whoever took it dies.
    taker = threading.Thread(target=requests.take, args=("shop", 5))
    taker.start()
    assert requests.ask("shop", "ping", {}, [ONE]) == {}
    taker.join()


def test_what_was_withdrawn_is_not_carried_out_by_whoever_finds_it_later(impatient: None) -> None:
    entries: list[Any] = []
    reader = threading.Thread(target=lambda: entries.append(redis_client().blpop([OBSERVER_REQUESTS + "shop"], timeout=5)))
    reader.start()
    with pytest.raises(CommandWithdrawnError):
        requests.ask("shop", "ping", {}, [ONE])
    reader.join()
    append(entries[0][1].decode())
    assert requests.take("shop", 1) is None


def test_what_is_no_request_is_refused_and_the_next_one_is_carried_out(
    staff: Callable[..., Worker], remote: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    staff()
    refused = [
        "no json", "[]", "7", "[" * 100_000, written(command="pool_restart", arguments={"modules": ["os"]}),
        written(command="revoke", arguments={"task_id": "x"}), written(command="revoke", arguments={"task_id": ["x"] * 101}),
        written(command="revoke", arguments={"task_id": ["x"], "signal": "SIGSTOP"}), written(command="enable_events"),
        written(workers=[]), written(workers=["x"] * 1001), written(command="look", arguments={"limit": 0}),
        written(token="x"), written(until="soon"), written(until=[]), written(until=10**400),
        json.dumps({"command": "ping", "arguments": {}, "workers": [ONE], "token": "0" * 32}),
        " " * 2**21 + "{}",
    ]  # fmt: skip
    append(*refused)
    assert workers.ping(ONE, "shop").answer == "pong"
    assert caplog.text.count("A request to the observer of shop was refused") == len(refused)
    with pytest.raises(StateConflictError, match="there is no command 'enable_events'"):
        requests.ask("shop", "enable_events", {}, [ONE])


def test_if_nobody_listens_it_is_said_at_once_and_nothing_is_stored() -> None:
    observer_state.forget("shop")
    with pytest.raises(StateConflictError, match="no observer of it runs; an engine runs it"):
        workers.ping(ONE, "shop")
    listens(reason="it refuses the user or the password")
    with pytest.raises(StateConflictError, match="does not reach the broker: it refuses the user or the password"):
        workers.shut_down(ONE, "shop")
    assert not redis_client().exists(OBSERVER_REQUESTS + "shop")


# --- The workers ---


def test_what_a_worker_answers_is_told_and_its_errors_are_shown(
    staff: Callable[..., Worker], remote: list[str], quick: None
) -> None:
    worker = staff(
        pool_grow=ok, pool_shrink=fails, rate_limit=lambda **_: {"error": "unknown task 'x'"}, cancel_consumer=ok,
        time_limit=lambda **_: "x" * 5000, shutdown=lambda: None,
    )  # fmt: skip
    assert workers.grow(ONE, 2, "shop").answer == "as you wish"
    eventually(lambda: remote)
    with pytest.raises(StateConflictError, match=r"shop@one refused: ValueError\('not here'\)"):
        workers.shrink(ONE, 1, "shop")
    with pytest.raises(StateConflictError, match="shop@one refused: unknown task 'x'"):
        workers.limit_rate(ONE, "x", "1/m", "shop")
    assert len(workers.limit_time(ONE, "x", 1, 2, "shop").answer) < 2100
    assert workers.cancel_queue(ONE, "later", "shop").answer == ["later"]
    assert workers.drain(ONE, "shop").answer == ["later", "tills"]
    workers.shut_down(ONE, "shop")
    eventually(lambda: worker.told[-1] == ("shutdown", {}))
    assert [arguments for command, arguments in worker.told if command == "cancel_consumer"] == [
        {"queue": name} for name in ("later", "later", "tills")
    ]
    with pytest.raises(WorkerSilentError, match="shop@two did not answer"):
        workers.ping(TWO, "shop")


def test_a_queue_that_goes_on_being_consumed_is_said(staff: Callable[..., Worker], remote: list[str]) -> None:
    staff(cancel_consumer=lambda queue: {"ok": ""} if queue == "later" else {"error": "never"})
    with pytest.raises(StateConflictError, match="it stopped consuming later, but for another queue never"):
        workers.drain(ONE, "shop")


def test_what_a_worker_has_not_told_is_not_guessed() -> None:
    beat(ONE, slots=0, queues=[], pool="", unknown=["slots", "queues", "held"])
    for act in (
        lambda: workers.grow(ONE, 1, "shop"), lambda: workers.shrink(ONE, 1, "shop"), lambda: workers.restart_pool(ONE, "shop"),
        lambda: workers.drain(ONE, "shop"), lambda: workers.cancel_queue(ONE, "x", "shop"),
        lambda: workers.autoscale(ONE, 1, 2, "shop"),
    ):  # fmt: skip
        with pytest.raises(StateConflictError, match=r"has not told its (slots|queues) yet"):
            act()


def test_a_broker_that_is_away_is_said_without_its_address(remote: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StateConflictError) as refused:
        _away(monkeypatch)
    reason = "nothing was sent, because its broker cannot be used: nothing listens at its host and port"
    assert str(refused.value) == f"The command to shop failed: {reason}."


def _away(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Connection(f"redis://:{SECRET}@127.0.0.1:1/0")
    monkeypatch.setattr(Celery, "connection_for_write", lambda _: away)
    requests.ask("shop", "ping", {}, [ONE])


def test_pages_and_programs_control_them_and_whoever_may_not_does_not(
    person: Client, api: ApiClient, member: User, staff: Callable[..., Worker], remote: list[str]
) -> None:
    worker = staff(pool_grow=ok)
    page = person.get(f"/workers/{ONE}/?application=shop").content.decode()
    assert f'href="/workers/{ONE}/grow/?application=shop"' in page
    done = person.post(f"/workers/{ONE}/grow/?application=shop", {"slots": "2"}, follow=True).content.decode()
    assert f"{ONE} confirmed the command. It answered: as you wish" in done
    assert AuditEntry.objects.get(path=f"/workers/{ONE}/grow/").detail["application"] == "shop"
    assert api("operate").post(f"/api/v1/workers/{ONE}/ping?application=shop").json()["answer"] == "pong"
    assert api("read").post(f"/api/v1/workers/{ONE}/ping?application=shop").status_code == 403
    assert api("operate", user=member).post(f"/api/v1/workers/{ONE}/ping?application=shop").status_code == 403
    ApplicationLimit.objects.create(user=User.objects.get(username="olga"), applications=["clinic"])
    assert person.post(f"/workers/{ONE}/grow/?application=shop", {"slots": "2"}).status_code == 404
    assert worker.told == [("pool_grow", {"n": 2}), ("ping", {})]
    observer_state.forget("shop")
    ApplicationLimit.objects.all().delete()
    page = person.get(f"/workers/{ONE}/?application=shop").content.decode()
    assert "cannot be told anything: no observer of it runs" in page
    assert "/grow/" not in page


# --- Cancelling ---


def post_cancel(client: Client, id_: str = "a") -> Any:
    return client.post(f"/api/v1/tasks/{id_}/cancel", content_type="application/json")


def task(id_: str = "a", status: Status = Status.RECEIVED, application: str = "shop") -> Task:
    now = timezone.now()
    row = Task.objects.create(
        id=key_of(id_, application), text_id=id_, application=Application.objects.get(name=application), name="shop.pay",
        status=status, worker=ONE, created_at=now, received_at=now, position=position(0, 0, status),
        finished_at=now if status == Status.SUCCESS else None,
    )  # fmt: skip
    TaskEvent.objects.create(task=row, status=status, position=row.position, at=now)
    return row


def why(row: Task) -> str:
    found = detail(str(row.id))
    assert found
    return found.why


def notes(row: Task) -> list[str]:
    return [event.message for event in TaskEvent.objects.filter(task=row, position__lt=0).order_by("id")]


def asked(row: Task) -> bool:
    row.refresh_from_db()
    return row.cancel_requested_at is not None


def test_a_task_is_revoked_on_all_workers_and_its_row_waits_for_the_event(
    api: ApiClient, person: Client, staff: Callable[..., Worker], remote: list[str]
) -> None:
    one, two = staff(), staff(TWO)
    row, ended = task("not/a uuid"), task("b", Status.SUCCESS)
    answer = post_cancel(api("operate"), "not/a uuid")
    assert (answer.status_code, answer.json()["requested"], answer.json()["problems"]) == (200, 1, [])
    assert one.told == two.told == [("revoke", {"task_id": ["not/a uuid"], "terminate": False, "signal": "SIGKILL"})]
    row.refresh_from_db()
    (note,) = notes(row)
    assert (row.status, asked(row), note.startswith("cancelling it was asked for by token test")) == ("RECEIVED", True, True)
    assert why(row).startswith("Cancelling it was asked for by token test")
    page = person.get(f"/tasks/{row.id}/").content.decode()
    assert "Cancelling it was asked for by token test" in page
    assert "/tasks/act/cancel/" in page
    # Whoever asks again is noted as well, once.
    for _ in range(2):
        assert person.post("/tasks/act/stop/", {"id": str(row.id)}, follow=True).status_code == 200
    assert notes(row) == [note, "stopping it was asked for by olga"]
    assert one.told[-1][1]["terminate"] is True
    assert [event.message for event in detail(str(row.id)).events][1:] == notes(row)  # type: ignore[union-attr]
    assert "1 passed on" in person.post("/tasks/act/cancel/", {"all": "1", "application": "shop"}, follow=True).content.decode()
    assert post_cancel(api("operate"), "b").status_code == 409
    assert not asked(ended)
    RequestedCancellations().run_once()
    assert len(one.told) == 4, "nothing is asked once more"


def test_what_was_not_sent_is_taken_back(api: ApiClient, impatient: None) -> None:
    row = task()
    answer = post_cancel(api("operate"))
    assert (answer.status_code, asked(row), notes(row)) == (504, False, [])
    assert "No observer of shop took the command" in answer.json()["detail"]
    observer_state.forget("shop")
    answer = api("operate").post("/api/v1/tasks/cancel", {"ids": ["a"]}, content_type="application/json")
    assert (answer.status_code, asked(row)) == (409, False)
    with pytest.raises(CommandError, match="no observer of it runs"):
        call_command("cancel", "a", yes=True)
    listens()
    for name in (ONE, TWO):
        heartbeat.forget_heard(name, "shop")
    with pytest.raises(StateConflictError, match="No worker of shop is online"):
        cancel([row.id], by="ann")
    assert not asked(row)


def test_workers_that_refuse_or_do_not_answer_are_named(staff: Callable[..., Worker], remote: list[str], quick: None) -> None:
    row = task(status=Status.STARTED)
    with pytest.raises(WorkerSilentError, match="shop@one, shop@two did not answer"):
        cancel([row.id], by="ann")
    assert (asked(row), "only stopping it ends a run" in why(row)) == (True, True)
    Task.objects.update(cancel_requested_at=None)
    two = staff(TWO, revoke=fails)
    with pytest.raises(StateConflictError, match=r"shop@two refused: ValueError\('not here'\)"):
        cancel([row.id], by="ann", force=True)
    assert (asked(row), notes(row)) == (False, ["cancelling it was asked for by ann"])
    staff()
    assert cancel([row.id], by="ann", force=True) == Cancelled(0, 0, 0, 1, ("shop@two refused: ValueError('not here').",))
    two.stop()
    assert cancel([row.id], by="ann").problems == ("shop@two did not answer within 1 s, and may not know of it.",)


def test_many_are_asked_for_some_at_a_time_and_what_is_left_is_said(
    staff: Callable[..., Worker], remote: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel_watched, "CHUNK", 2)
    rows = [task(str(number)) for number in range(5)]
    one, _ = staff(), staff(TWO)
    assert cancel([row.id for row in rows], by="ann").requested == 5
    assert sorted(len(arguments["task_id"]) for _, arguments in one.told) == [1, 2, 2]
    monkeypatch.setattr(cancel_watched, "LONGEST", -1.0)
    with pytest.raises(StateConflictError, match="took more than"):
        cancel([row.id for row in rows], by="ann")


def test_tasks_of_other_applications_are_cancelled_all_the_same(impatient: None) -> None:
    now = timezone.now()
    own = Task.objects.create(id=key_of("own"), text_id="own", name="x", status=Status.SCHEDULED, created_at=now)
    result = cancel([task().id, own.id], by="ann")
    assert (result.revoked, result.requested, len(result.problems)) == (1, 0, 1)
    assert "No observer of shop took the command" in result.problems[0]


def test_a_viewer_and_whoever_is_limited_cancel_nothing(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(requests, "ask", lambda *args: told.append(args) or Answers({}))
    row = task()
    limited = User.objects.create_user("lim", password="a long enough one")
    limited.groups.add(Group.objects.get(name="operator"))
    ApplicationLimit.objects.create(user=limited, applications=["clinic"])
    assert post_cancel(api("operate", user=limited)).status_code == 404
    assert post_cancel(api("read")).status_code == 403
    assert (told, asked(row)) == ([], False)
