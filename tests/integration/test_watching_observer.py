"""The observer of a watched application on the real Redis: what it hears is recorded, and who observes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection

from tasks_app.models import Application, Task
from tasks_app.watching import inspection, observer_state
from tasks_app.watching.applications import Watch, remove, watch
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import Broker, broker_of, celery_of
from tasks_app.watching.observer import Gap, Observer
from tasks_app.watching.observers import Observers, known_tasks_of, open_tasks_of
from tasks_app.watching.receiver import Receiver
from tests.integration.watching import Company, observing, one_task, quicken, record
from tests.waiting import eventually
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import UNREADABLE
from zenith_worker.wire.states import delivery_of

pytestmark = pytest.mark.django_db

URL = "redis://broker.example:6390/3"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def company() -> Company:
    return Company()


@pytest.fixture
def observer(company: Company) -> Iterator[Observer]:
    with observing(company) as here:
        yield here


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
    second = Observer(observer.watched, listened_at=observer.listened_at, look_up=known_tasks_of("shop"))
    second.start()
    try:
        eventually(lambda: second.state.listens)
        company.tell({"type": "task-failed", "uuid": "a", "exception": "ValueError('no')"})
        eventually(lambda: record() and Task.objects.filter(application__name="shop", status="FAILURE").exists())
    finally:
        second.stop()
    row = Task.objects.get(id=key_of("a", "shop"))
    assert (row.attempt, row.error_type, row.error_message) == (3, "ValueError", "no")


@pytest.mark.django_db(transaction=True)
def test_what_is_delivered_again_or_began_before_an_observer_listens_again_is_told_apart(
    company: Company, observer: Observer
) -> None:
    company.tell(*one_task("a")[:2], one_task("b")[0])
    eventually(lambda: record() and Task.objects.filter(status="STARTED").exists() and Task.objects.count() == 2)
    began_at = time.time()
    observer.stop()
    second = Observer(observer.watched, open_tasks=open_tasks_of(Application.objects.get(name="shop")))
    second.start()
    try:
        eventually(lambda: second.state.listens)
        company.tell(one_task("a")[0], worker="shop@two")
        request = {"id": "b", "name": "shop.pay", "args": [1], "kwargs": {}, "time_start": began_at, "eta": None}
        second._found.append(inspection._event(request, "shop@one", "active"))
        eventually(
            lambda: record() and set(Task.objects.values_list("text_id", "status")) == {("a", "RECEIVED"), ("b", "STARTED")}
        )
    finally:
        second.stop()
    again, started = Task.objects.order_by("text_id")
    steps = again.events.order_by("position").values_list("status", "position")
    assert [(status, delivery_of(at)) for status, at in steps] == [("RECEIVED", 0), ("STARTED", 0), ("RECEIVED", 1)]
    assert started.started_at
    assert abs(started.started_at.timestamp() - began_at) < 1


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
