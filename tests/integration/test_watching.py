"""Watching an application: its row and its URL, the command, the observer on the real Redis, and what is refused."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.replay import Replay, replay
from tasks_app.dispatch.rerun import run_again
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Application, DeadLetter, Task
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.attached_explanation import explain_attached
from tasks_app.recording.recorder import Recorder
from tasks_app.watching import inspection, observer_state
from tasks_app.watching.applications import Watch, free_name, remove, watch, why_unreachable
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import Broker, BrokerUnknownError, broker_of, celery_of
from tasks_app.watching.observer import Gap, Observer
from tasks_app.watching.observers import Observers, positions_in
from tasks_app.watching.receiver import Receiver
from tasks_app.watching.urls import check_url, name_of
from tests.integration.conftest import ApiClient
from tests.waiting import eventually
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.encryption import DecryptionError, decrypt, encrypt
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import UNREADABLE, application_keys

pytestmark = pytest.mark.django_db

SECRET = "correct-horse"
URL = f"redis://user:{SECRET}@broker.example:6390/3"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short rounds; and an empty Redis, since what an observer wrote is not rolled back."""
    monkeypatch.setattr("tasks_app.watching.asking.ROUND", 0.2)
    monkeypatch.setattr("tasks_app.watching.observer.BLOCK", 0.2)
    monkeypatch.setattr("tasks_app.watching.inspection.TIMEOUT", 0.3)
    redis_client().flushdb()


def broker_url() -> str:
    """A database of the test's Redis that nobody else uses."""
    url = os.environ["REDIS_URL"]
    return f"{url[: -len(urlsplit(url).path)]}/13"


def run(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("watch", *words, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


# --- The URL ---


def test_what_is_encrypted_is_read_with_the_same_key_and_purpose_only() -> None:
    sealed = encrypt(SECRET, "one")
    assert SECRET not in sealed
    assert encrypt(SECRET, "one") != sealed
    assert decrypt(sealed, "one") == SECRET
    for value, purpose in ((sealed, "two"), (sealed[:-6] + "AAAAA=", "one"), ("v1:", "one"), ("\x00é", "one")):
        with pytest.raises(DecryptionError):
            decrypt(value, purpose)


def test_the_url_is_encrypted_in_the_row_and_unreadable_with_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    row, is_new = watch("shop", Watch(url=URL))
    assert is_new
    with connection.cursor() as cursor:
        cursor.execute("SELECT tasks_app_application::text FROM tasks_app_application WHERE name = 'shop'")
        assert SECRET not in cursor.fetchone()[0]
    assert broker_of(row).url == URL
    assert SECRET not in f"{broker_of(row)!r} {broker_of(row)} {Watch(url=URL)!r} {Watched(1, 'shop', broker_of(row))!r}"
    monkeypatch.setattr(settings, "SECRET_KEY", "another key " * 4)
    with pytest.raises(BrokerUnknownError, match=r"or with .manage\.py watch shop"):
        broker_of(row)
    watch("shop", Watch(url=URL))
    row.refresh_from_db()
    assert broker_of(row).url == URL


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqs://key:correct-horse@", "the scheme sqs cannot be watched"),
        ("correct-horse://host", "its scheme cannot be watched"),
        ("kafka://correct-horse@host", "the scheme kafka cannot be watched"),
        ("correct-horse", "is not a broker's URL"),
        ("", "is not a broker's URL"),
        ("redis://:correct-horse@", "names no host"),
        ("redis://:correct-horse@host:port/0", "has an address that cannot be read"),
        ("redis://:correct-horse@host:99999/0", "has an address that cannot be read"),
        ("sentinel://:correct-horse@host:26379/0", "names no master"),
        ("redis+socket://", "names no socket"),
        ("redis://host/0 correct-horse", "is not a broker's URL"),
    ],
)
def test_a_url_that_cannot_be_watched_is_refused_without_showing_it(url: str, reason: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_url(url)
    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost:6379/0", "localhost-0"), ("redis://:x@Broker.Example.com/", "broker-example-com"),
        ("amqp://guest:guest@rabbit//", "rabbit"), ("amqps://u:p@rabbit/shop_eu", "rabbit-shop-eu"),
        ("redis+socket:///run/redis.sock", "redis"), ("redis://zenith", "watched"), ("redis://[::1]:6379/1", "1-1"),
        ("sentinel://a:1;sentinel://b:2/0?master_name=m", "a"),
    ],
)  # fmt: skip
def test_a_name_follows_from_the_place_and_not_from_the_password(url: str, name: str) -> None:
    assert name_of(check_url(url)) == name


def test_certificates_are_checked_unless_the_url_says_otherwise() -> None:
    for url, is_checked in (("rediss://h/0", True), ("rediss://h/0?ssl_cert_reqs=none", False), ("amqps://h", True)):
        assert bool(celery_of(Broker(url)).conf.broker_use_ssl) == is_checked
    app = celery_of(Broker("sentinel://h:26379/0?master_name=main", "shop:"))
    assert app.conf.broker_transport_options["master_name"] == "main"
    assert app.conf.broker_transport_options["global_keyprefix"] == "shop:"
    assert app.conf.broker_read_url == "sentinel://h:26379/0"


# --- The command ---


def test_the_command_adds_lists_changes_and_removes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No application is watched" in run()
    monkeypatch.setenv("ZENITH_WATCH_URL", URL)
    assert "shop is watched from now on" in run("shop")
    monkeypatch.delenv("ZENITH_WATCH_URL")
    run("shop", key_prefix="tills:", accept="json,msgpack", enable_events="no")
    row = Application.objects.get(name="shop")
    assert (row.key_prefix, row.serializers, row.enables_events) == ("tills:", "json,msgpack", False)
    assert broker_of(row) == Broker(URL, "tills:", ("json", "msgpack"))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{broker_url()}\n"))
    run("clinic", "-")
    listed = run() + run(json=True)
    assert "clinic" in listed
    assert "shop" in listed
    assert SECRET not in listed
    assert broker_of(Application.objects.get(name="clinic")).url == broker_url()
    for refused in ("pickle", "json,pickle", ""):
        with pytest.raises(CommandError, match="pickle is refused"):
            run("shop", accept=refused)
    with pytest.raises(CommandError, match="letters, digits"):
        run("Shop!", URL)
    with pytest.raises(CommandError, match="add --yes"):
        run("shop", remove=True)
    assert "Would be removed: the URL of the broker of shop" in run("shop", remove=True, dry_run=True)
    assert Application.objects.filter(name="shop").exists()
    assert "the application shop itself" in run("shop", remove=True, yes=True)
    assert not Application.objects.filter(name="shop").exists()
    with pytest.raises(CommandError, match="there are: clinic"):
        run("shop", remove=True)


def test_an_application_with_tasks_stays_when_it_is_removed() -> None:
    row, _ = watch("shop", Watch(url=URL))
    Task.objects.create(
        id=key_of("a", "shop"), text_id="a", application=row, name="x", status="RECEIVED", created_at=timezone.now()
    )
    told = remove("shop")
    row.refresh_from_db()
    assert (told.row, row.broker) == (False, "")
    with pytest.raises(BrokerUnknownError, match="not watched any more"):
        broker_of(row)


def test_an_application_of_another_kind_is_not_watched() -> None:
    Application.objects.create(name="shop", kind="attached")
    with pytest.raises(CommandError, match="its workers report to Zenith themselves"):
        run("shop", URL)
    assert free_name("redis://shop") == "shop-2"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:correct-horse@127.0.0.1:1/0", "nothing listens at its host and port"),
        ("amqp://u:correct-horse@127.0.0.1:1//", "nothing listens at its host and port"),
        ("redis://correct-horse.invalid/0", "its host's name is unknown"),
        ("redis+socket:///nowhere/correct-horse.sock", "its socket does not exist"),
    ],
)
def test_a_tested_connection_says_what_is_wrong_and_shows_nothing(url: str, reason: str) -> None:
    with pytest.raises(CommandError) as refused:
        run("shop", url, test=True)
    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)
    assert not Application.objects.exists() or not Application.objects.filter(name="shop").exists()


def test_a_broker_that_can_be_used_passes_the_test_and_one_that_refuses_the_login_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    assert why_unreachable(Broker(broker_url())) == ""
    parts = urlsplit(broker_url())
    wrong = f"redis://nobody:{SECRET}@{parts.hostname}:{parts.port}/13"
    assert "refuses the user or the password" in why_unreachable(Broker(wrong))
    run("shop", broker_url(), test=True)
    assert "can be used" in run("shop", test=True)
    # Some of kombu's classes log the URL without its password.
    assert "redis://" not in caplog.text
    assert str(parts.port) not in caplog.text


def test_what_zenith_watch_names_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ZENITH_WATCH", f"{URL} clinic=amqp://guest:{SECRET}@rabbit/clinic")
    run(configured=True)
    run(configured=True)
    names = set(Application.objects.filter(kind="watched").values_list("name", flat=True))
    assert names == {"broker-example-3", "clinic"}
    monkeypatch.setattr(settings, "ZENITH_WATCH", f"shop=sqs://{SECRET}")
    with pytest.raises(CommandError) as refused:
        run(configured=True)
    assert SECRET not in str(refused.value)


def test_up_passes_urls_on_where_nobody_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: executed.append(words))
    monkeypatch.setattr(os, "chdir", lambda _: None)
    monkeypatch.setattr(settings, "ZENITH_WATCH", "clinic=amqp://rabbit/")
    monkeypatch.setenv("ZENITH_WATCH", "clinic=amqp://rabbit/")
    call_command("up", watch=[URL, f"shop={URL}"])
    assert SECRET not in " ".join(executed[0])
    assert os.environ["ZENITH_WATCH"] == f"clinic=amqp://rabbit/ {URL} shop={URL}"


# --- The observer ---


class Company:
    """Somebody's broker, and what their workers tell everybody."""

    def __init__(self) -> None:
        self.url = broker_url()
        self.redis = redis.Redis.from_url(self.url)
        self.redis.flushdb()
        self.app = Celery("shop", broker=self.url, set_as_current=False)

    def tell(self, *events: dict[str, Any], worker: str = "shop@one") -> None:
        with self.app.connection_for_write() as broker, self.app.events.Dispatcher(broker, hostname=worker) as dispatcher:
            for event in events:
                dispatcher.send(**event)

    def publish(self, body: Any, **options: Any) -> None:
        with self.app.connection_for_write() as broker, self.app.events.Dispatcher(broker) as dispatcher:
            producer = dispatcher.producer
            exchange = dispatcher.exchange
            producer.publish(body, exchange=exchange.name, routing_key="task.odd", declare=[exchange], **options)


@pytest.fixture
def company() -> Company:
    return Company()


@pytest.fixture
def observer(company: Company) -> Iterator[Observer]:
    row, _ = watch("shop", Watch(url=company.url))
    here = Observer(Watched(row.pk, "shop", broker_of(row)))
    here.start()
    eventually(lambda: here.state.listens, but=lambda: here.state.reason)
    yield here
    here.stop()


def record() -> bool:
    stream.ensure_group()
    recorder = Recorder(threading.Event())
    while recorder.step(block=0.02):
        pass
    return True


def one_task(id_: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "task-received",
            "uuid": id_,
            "name": "shop.pay",
            "args": "(1,)",
            "kwargs": "{'token': 'hunter2'}",
            "retries": 0,
        },
        {"type": "task-started", "uuid": id_},
        {"type": "task-succeeded", "uuid": id_, "result": "'paid'", "runtime": 0.5},
    ]


@pytest.mark.django_db(transaction=True)
def test_what_workers_tell_is_recorded(company: Company, observer: Observer) -> None:
    company.tell(
        *one_task("a"), *one_task("not/a uuid"), {"type": "task-received", "uuid": "b", "name": "shop.pay", "retries": 0}
    )
    eventually(lambda: record() and Task.objects.filter(application__name="shop", status="SUCCESS").count() == 2)
    row = Task.objects.get(id=key_of("not/a uuid", "shop"))
    assert (row.celery_id, row.name, row.args, row.worker, row.runtime) == ("not/a uuid", "shop.pay", [1], "shop@one", 0.5)
    assert Task.objects.get(id=key_of("b", "shop")).status == "RECEIVED"
    assert observer.heard_at


def test_whoever_listens_hears_everything_from_that_moment_on(company: Company) -> None:
    heard: list[Any] = []
    with (
        closing(celery_of(Broker(company.url))) as app,
        app.connection_for_read() as connection,
        Receiver(app, connection, "zenith.here", heard.extend, lambda *_: None) as receiver,
    ):
        company.tell(*one_task("a"))
        eventually(lambda: receiver.wait(0.1) or len(heard) == 3)


def test_a_message_that_is_not_as_celery_writes_it_is_opened_all_the_same(company: Company) -> None:
    heard: list[Any] = []
    odd: list[str] = []
    broker = Broker(company.url, serializers=("json", "msgpack"))
    with (
        closing(celery_of(broker)) as app,
        app.connection_for_read() as connection,
        Receiver(app, connection, "zenith.here", heard.extend, lambda _, reason: odd.append(reason)) as receiver,
    ):
        channel = f"/{urlsplit(company.url).path[1:]}.celeryev/task.odd"
        for envelope in (
            "7",
            "[]",
            "{}",
            '{"content-type": "application/json", "headers": {}, "properties": {}, "body": "x"}',
            "no",
        ):
            company.redis.publish(channel, envelope)
        company.publish({"type": "task-started"}, compression="zlib")
        company.publish({"type": "task-started"}, serializer="msgpack")
        company.publish([{"type": "task-started"}, {"type": "task-failed"}])
        eventually(lambda: receiver.wait(0.1) or len(heard) == 4)
    assert len(odd) == 5


def test_a_flood_is_received_in_portions(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.watching.subscription.AT_ONCE", 2)
    heard: list[Any] = []
    with (
        closing(celery_of(Broker(company.url))) as app,
        app.connection_for_read() as connection,
        Receiver(app, connection, "zenith.here", heard.extend, lambda *_: None) as receiver,
    ):
        for number in range(5):
            company.publish({"type": f"task-{number}"})
        for expected in (2, 4, 5):
            receiver.wait(1.0)
            assert len(heard) == expected
    assert [received.event["type"] for received in heard] == [f"task-{number}" for number in range(5)]


@pytest.mark.django_db(transaction=True)
def test_odd_messages_stop_nothing_and_are_set_aside(company: Company, observer: Observer) -> None:
    odd = [7, None, ["x", {"type": 3}], {"no": "type"}, {"type": "task-started", "uuid": 7, "hostname": "x", "timestamp": 1}]
    for body in odd:
        company.publish(body)
    company.publish({"type": "task-started"}, serializer="pickle")
    company.publish("not json", serializer=None, content_type="application/json", content_encoding="utf-8")
    company.tell(*one_task("a"))
    eventually(lambda: record() and Task.objects.filter(id=key_of("a", "shop"), status="SUCCESS").exists())
    reasons = {entry[1][b"reason"].decode() for entry in redis_client().xrange(UNREADABLE)}  # type: ignore[union-attr]
    assert len(reasons) >= 3, observer.odd
    assert all(reason.startswith("an event of shop: ") for reason in reasons)


def test_workers_are_listed_with_what_is_known_of_them(company: Company, observer: Observer) -> None:
    about = {"freq": 2.0, "active": 1, "processed": 5, "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"}
    company.tell({"type": "worker-heartbeat", **about})
    company.tell({"type": "task-started", "uuid": "a"}, worker="shop@silent")
    eventually(lambda: len(heartbeat.read_all("shop")) == 2)
    one, silent = heartbeat.read_all("shop")
    assert (one.name, one.online, one.busy, one.processed, one.version, one.watched) == ("shop@one", True, 1, 5, "5.7.0", True)
    assert set(one.unknown) == {"slots", "queues", "held"}
    assert silent.name == "shop@silent"
    company.tell({"type": "worker-offline", **about})
    eventually(lambda: [beat.name for beat in heartbeat.read_all("shop")] == ["shop@silent"])


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_reports_by_itself_is_not_told_twice(company: Company, observer: Observer) -> None:
    heartbeat.write("shop@one", slots=4, busy=0, queues=["tills"], application="shop")
    company.tell({"type": "worker-heartbeat", "freq": 2.0, "active": 1})
    eventually(lambda: observer.workers.is_attached("shop@one"))
    company.tell(*one_task("a"))
    company.tell(*one_task("b"), worker="shop@two")
    eventually(lambda: record() and Task.objects.filter(application__name="shop", status="SUCCESS").exists())
    assert not Task.objects.filter(id=key_of("a", "shop")).exists()
    assert [beat.slots for beat in heartbeat.read_all("shop") if beat.name == "shop@one"] == [4]


@pytest.mark.django_db(transaction=True)
def test_two_observers_at_once_record_each_step_once(company: Company, observer: Observer) -> None:
    second = Observer(observer.watched)
    second.start()
    try:
        eventually(lambda: second.state.listens)
        company.tell(*one_task("a"), {"type": "task-retried", "uuid": "c", "exception": "ValueError()"})
        eventually(lambda: second.heard_at and observer.heard_at)
        eventually(lambda: record() and Task.objects.filter(id=key_of("a", "shop"), status="SUCCESS").exists())
        eventually(lambda: record() and stream.length("shop") == 0)
    finally:
        second.stop()
    task = Task.objects.get(id=key_of("a", "shop"))
    assert list(task.events.order_by("position").values_list("status", flat=True)) == ["RECEIVED", "STARTED", "SUCCESS"]


def test_a_broker_that_is_away_is_waited_for_and_the_gap_is_told(company: Company) -> None:
    row, _ = watch("shop", Watch(url="redis://127.0.0.1:1/0"))
    here = Observer(Watched(row.pk, "shop", broker_of(row)), listened_at=time.time() - 60)
    here.start()
    try:
        eventually(lambda: (state := observer_state.read("shop")) is not None and "nothing listens" in state.reason)
        # As if it were back.
        here.watched = Watched(row.pk, "shop", Broker(company.url))
        eventually(lambda: here.state.listens)
        [gap] = here.take_gaps()
        assert (gap.reason, gap.end - gap.start > 59) == ("no observer ran", True)
    finally:
        here.stop()


@pytest.mark.django_db(transaction=True)
def test_an_observer_goes_on_where_another_one_ended(company: Company, observer: Observer) -> None:
    company.tell({**one_task("a")[0], "retries": 2}, one_task("a")[1])
    eventually(lambda: record() and Task.objects.filter(application__name="shop", status="STARTED").exists())
    observer.stop()
    second = Observer(observer.watched, listened_at=observer.listened_at, positions=positions_in("shop"))
    second.start()
    try:
        eventually(lambda: second.state.listens)
        company.tell({"type": "task-failed", "uuid": "a", "exception": "ValueError('no')"})
        eventually(lambda: record() and Task.objects.filter(application__name="shop", status="FAILURE").exists())
    finally:
        second.stop()
    row = Task.objects.get(id=key_of("a", "shop"))
    assert (row.attempt, row.error_type, row.error_message) == (3, "ValueError", "no")


def test_while_recorders_are_behind_events_are_counted_and_dropped(
    company: Company, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.watching.observer.BEHIND", 0)
    company.tell(*one_task("a"))
    eventually(lambda: stream.length("shop") > 0)
    eventually(lambda: company.tell(*one_task("b")) or ((state := observer_state.read("shop")) and state.lost))


@pytest.mark.django_db(transaction=True)
def test_what_began_before_anybody_listened_is_told_by_the_workers(company: Company, observer: Observer) -> None:
    began_at = time.time() - 7200
    request = {"id": "long", "name": "shop.pay", "args": "(1,)", "kwargs": "{}", "time_start": began_at, "eta": None}
    info = {"delivery_info": {"routing_key": "tills"}}
    observer._found.append(inspection._event({**request, **info}, "shop@one", "active"))
    observer._found.append(inspection._event({**request, "id": "next", "time_start": None}, "shop@one", "reserved"))
    eventually(lambda: record() and Task.objects.filter(application__name="shop").count() == 2)
    row = Task.objects.get(id=key_of("long", "shop"))
    assert (row.status, row.name, row.queue, row.worker) == ("STARTED", "shop.pay", "tills", "shop@one")
    assert row.started_at
    assert abs(row.started_at.timestamp() - began_at) < 1
    assert Task.objects.get(id=key_of("next", "shop")).status == "RECEIVED"


def test_a_task_that_its_worker_no_longer_has_is_said_to_be_lost_sight_of() -> None:
    row, _ = watch("shop", Watch(url=URL))
    now = timezone.now()
    task = task_of(row, "a", status="STARTED", worker="shop@one", started_at=now - timedelta(seconds=300))
    body = {"pid": 1, "slots": 1, "busy": 0, "queues": ["tills"], "held": []}

    def why(**changes: Any) -> str:
        heartbeat.write_heard([heartbeat.Heard("shop@one", {**body, **changes}, 0.0)], "shop")
        return explain_attached(task, "shop", heartbeat.read_all("shop"), now)

    assert "shop@one says that it does not have it: how it ended was not heard" in why()
    assert "has been running it for" in why(held=["a"])
    assert "has been running it for" in why(unknown=["held"])
    assert "queues they consume" in explain_attached(
        task_of(row, "b", status="QUEUED", queue="tills"), "shop",
        heartbeat.read_all("shop") if why(queues=[], unknown=["queues"]) else [], now,
    )  # fmt: skip


def test_asking_workers_gives_nobodys_messages_back(company: Company) -> None:
    """kombu's receivers on Redis do, by their own visibility timeout: an application with a longer one would run tasks twice."""
    company.redis.zadd("unacked_index", {"tag": time.time() - 7 * 86_400})
    company.redis.hset("unacked", "tag", json.dumps([{"body": "", "properties": {}}, "celery", "celery"]))
    app = celery_of(Broker(company.url))
    with app.connection_for_write() as connection:
        assert inspection.ask(app, connection).tasks == []
    app.close()
    assert company.redis.zrange("unacked_index", 0, -1) == [b"tag"]
    assert company.redis.hexists("unacked", "tag")


class _Fake:
    """An observer that observes nothing."""

    def __init__(self, watched: Watched, **_: Any) -> None:
        self.watched, self.name, self.is_alive, self.is_running = watched, watched.name, True, False
        self.first_heard_at = self.heard_at = self.listened_at = time.time()
        self.gaps = [Gap(1.0, 2.0, "no observer ran")]
        self.workers = self

    def start(self) -> None:
        self.is_running = True

    def stop(self, within: float = 0) -> None:
        self.is_running = False

    ask_to_stop = stop

    def versions(self) -> set[str]:
        return {"5.6.2"}

    def take_gaps(self) -> list[Gap]:
        gaps, self.gaps = self.gaps, []
        return gaps


def test_an_engine_observes_what_is_watched_and_begins_anew_if_it_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    observers = Observers(make=_Fake)  # type: ignore[arg-type]
    row, _ = watch("shop", Watch(url=URL))
    observers.run_once()
    first: Any = observers.running[row.pk]
    assert first.is_running
    row.refresh_from_db()
    assert (row.gaps, row.celery_version) == ([[1.0, 2.0, "no observer ran"]], "5.6.2")
    assert row.last_heard_at
    observers.run_once()
    assert observers.running[row.pk] is first
    watch("shop", Watch(enables_events=False))
    observers.run_once()
    second: Any = observers.running[row.pk]
    assert (first.is_running, second.is_running) == (False, True)
    monkeypatch.setattr(settings, "SECRET_KEY", "another key " * 4)
    observers.run_once()
    assert not observers.running
    state = observer_state.read("shop")
    assert state
    assert "enter the URL again" in state.reason
    remove("shop")
    observers.run_once()
    assert not second.is_running
    observers.stop()


def test_an_application_is_observed_by_one_engine_at_a_time() -> None:
    row, _ = watch("shop", Watch(url=URL))
    with closing(connection.copy()) as elsewhere, elsewhere.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [AdvisoryLock.OBSERVER_LEASE, row.pk])
        observers = Observers(make=_Fake)  # type: ignore[arg-type]
        observers.run_once()
        assert not observers.running
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [AdvisoryLock.OBSERVER_LEASE, row.pk])
        observers.run_once()
        assert list(observers.running) == [row.pk]
        remove("shop")
        observers.run_once()
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [AdvisoryLock.OBSERVER_LEASE, row.pk])
        assert cursor.fetchone()[0]


# --- What is refused ---


def task_of(row: Application, id_: str, **values: Any) -> Task:
    moment = timezone.now()
    values = {"finished_at": moment, **values} if values.get("status") in ("SUCCESS", "FAILURE") else values
    return Task.objects.create(
        id=key_of(id_, row.name), text_id=id_, application=row, name="shop.pay", created_at=moment, **values
    )


def test_no_task_is_sent_to_a_watched_application(person: Client) -> None:
    row, _ = watch("shop", Watch(url=URL))
    failed, waiting = task_of(row, "a", status="FAILURE", error_type="ValueError"), task_of(row, "b", status="RECEIVED")
    letter = DeadLetter.objects.create(
        task=failed, application=row, task_name="shop.pay", error_type="ValueError", fingerprint="f", created_at=timezone.now()
    )
    origin = Origin(source="api", sent_by="test")
    with pytest.raises(InvalidDispatchError, match="Zenith only watches shop"):
        dispatch(Dispatch(task="shop.pay", application="shop"), origin)
    with pytest.raises(StateConflictError, match="Zenith only watches shop"):
        run_again(failed.id, origin)
    assert replay(Replay(selection=Selection(task_ids=(failed.id,))), origin).passed_over == 1
    letter.refresh_from_db()
    assert letter.state == "OPEN"
    page = person.get(f"/tasks/{failed.id}/").content.decode()
    assert "/tasks/act/again/" not in page
    assert "events describe them" in page
    assert "/dispatch/?like=" not in page
    for key in ("handed", "commands", "cancelled"):
        assert not redis_client().exists(getattr(application_keys("shop"), key))
    # Its workers can be told to refuse it (test_watched_control.py), if somebody can tell them.
    assert "/tasks/act/cancel/" in person.get(f"/tasks/{waiting.id}/").content.decode()
    with pytest.raises(StateConflictError, match="No worker of shop is online"):
        cancel([waiting.id], by="test")
    waiting.refresh_from_db()
    assert (waiting.status, waiting.cancel_requested_at) == ("RECEIVED", None)


# --- Pages and API ---


def test_pages_and_api_say_what_is_known_and_show_no_url(person: Client, api: ApiClient, admin: User) -> None:
    row, _ = watch("shop", Watch(url=URL))
    heartbeat.write_heard([heartbeat.Heard("shop@one", {"pid": 0, "slots": 0, "busy": 0, "queues": [], "held": [],
                                                         "unknown": ["slots", "queues", "held"]}, 0.0)], "shop")  # fmt: skip
    observer_state.write("shop", observer_state.ObserverState(listens=False, reason="it refuses the login", since=time.time()))
    Application.objects.filter(pk=row.pk).update(gaps=[[time.time() - 60, time.time() - 30, "no observer ran"]])
    pages = [
        "/applications/", "/applications/shop/", "/workers/", "/workers/shop@one/?application=shop", "/queues/?application=shop",
        "/dispatch/?application=shop",
    ]  # fmt: skip
    for path in pages:
        page = person.get(path).content.decode()
        assert SECRET not in page
        assert "broker.example" not in page
    page = person.get("/applications/shop/").content.decode()
    for text in ("Watched", "it refuses the login", "no observer ran", "What attaching adds", "zenith_worker.auto"):
        assert text in page
    root = Client()
    root.force_login(admin)
    shown = root.get(f"/admin/tasks_app/application/{row.pk}/change/")
    assert shown.status_code == 200
    assert row.broker not in shown.content.decode()
    answer = api().get("/api/v1/applications/shop").json()
    assert answer["kind"] == "watched"
    [worker] = api().get("/api/v1/workers?application=shop").json()
    assert worker["unknown"] == ["slots", "queues", "reserved"]
    assert answer["observer"] == {"listens": False, "reason": "it refuses the login", "events": 0, "lost": 0, "odd": 0}
    assert SECRET not in json.dumps(answer)
