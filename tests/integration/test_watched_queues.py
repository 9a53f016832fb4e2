"""The queues of a watched application: measured at its real Redis without a trace, shown with what is known, and looked into."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from django.test import Client
from django.utils import timezone

from tasks_app.diagnosis.diagnose import diagnose
from tasks_app.diagnosis.gather import gather
from tasks_app.maintenance import samples
from tasks_app.models import Application, QueueSample, Task
from tasks_app.queries.waiting_messages import shown
from tasks_app.watching import observer_state, queue_state, redis_queues, requests
from tasks_app.watching.applications import Watch, watch
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import Broker, broker_of, celery_of
from tasks_app.watching.declarations import Declaration, declarations
from tasks_app.watching.heard_workers import HeardWorkers
from tasks_app.watching.looks import NotSeenError, look
from tasks_app.watching.observer import Observer
from tasks_app.watching.observer_state import ObserverState
from tasks_app.watching.queue_state import ObservedQueue
from tasks_app.watching.queues import Queues
from tests.integration.conftest import ApiClient
from tests.integration.test_metrics import samples as samples_of_metrics
from tests.rollups import ended
from tests.waiting import eventually
from zenith_site.common.masking import MASK
from zenith_worker.wire import control, heartbeat
from zenith_worker.wire.broker_message import JSON, describe
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import OBSERVED_QUEUES
from zenith_worker.wire.states import Status, position

METRIC = "zenith_application_queue_depth"
pytestmark = pytest.mark.django_db


def broker_url() -> str:
    """A database of the test's Redis that nobody else uses."""
    url = os.environ["REDIS_URL"]
    return f"{url[: -len(urlsplit(url).path)]}/13"


@pytest.fixture(autouse=True)
def empty() -> None:
    redis_client().flushdb()
    redis.Redis.from_url(broker_url()).flushdb()


class Company:
    """Somebody's application, which sends tasks that nobody runs."""

    def __init__(self, **options: Any) -> None:
        self.redis = redis.Redis.from_url(broker_url())
        self.prefix = options.get("global_keyprefix", "")
        self.app = Celery("shop", broker=broker_url(), set_as_current=False)
        self.app.conf.broker_transport_options = options

    def send(self, queue: str, *args: Any, **options: Any) -> str:
        # Not one of kombu's pool, which lasts from test to test and believes the queues declared that were flushed.
        with self.app.connection_for_write() as connection:
            return str(self.app.send_task("shop.pay", args, queue=queue, connection=connection, **options).id)

    def observed(self) -> Queues:
        return Queues("shop", HeardWorkers())

    def measure(self, queues: Queues) -> dict[str, ObservedQueue]:
        with closing(celery_of(Broker(broker_url(), self.prefix))) as app, app.connection_for_write() as connection:
            queues._measure(app, connection)
        return queue_state.read("shop")


@pytest.fixture
def company() -> Iterator[Company]:
    here = Company()
    yield here
    here.app.close()


def keys_and_values(store: redis.Redis) -> dict[bytes, Any]:
    return {key: store.dump(key) for key in store.scan_iter()}


# --- Measuring ---


def test_queues_are_found_by_their_bindings_and_counted_over_all_priorities(company: Company) -> None:
    first = company.send("mail", 1)
    company.send("mail", 2)
    urgent = company.send("mail", 3, priority=6)
    company.send("bulk/eu \N{SNOWMAN}", 4)
    before = keys_and_values(company.redis)
    found = company.measure(company.observed())
    assert keys_and_values(company.redis) == before
    assert set(found) == {"mail", "bulk/eu \N{SNOWMAN}"}
    mail = found["mail"]
    assert (mail.depth, mail.by_priority, mail.next_ids) == (3, ((0, 2), (6, 1)), (first, urgent))
    assert (mail.consumers, mail.missing, mail.unreadable) == (None, False, False)
    assert mail.age < 30


@pytest.mark.parametrize("separator", [":", "--", "\x06\x16"], ids=["colon", "dashes", "default"])
def test_prefix_steps_and_separator_are_those_of_the_application(separator: str) -> None:
    here = Company(global_keyprefix="till[1]*:", priority_steps=list(range(10)), sep=separator)
    for priority in (0, 1, 9, 9):
        here.send("mail", priority=priority)
    here.redis.lpush("mail", "of somebody else")
    found = here.measure(here.observed())
    assert {name: queue.by_priority for name, queue in found.items()} == {"mail": ((0, 1), (1, 1), (9, 2))}
    here.app.close()


def test_what_only_events_and_workers_name_is_measured_and_a_key_of_another_type_is_said(company: Company) -> None:
    queues = company.observed()
    queues.hear("named")
    queues.hear("unacked_mutex")
    queues._workers.take_answers(
        {"shop@one": {"active_queues": [{"name": "consumed"}, {"name": 7}, None]}}, time.time(), every=15
    )
    company.redis.set("named", "no list")
    found = company.measure(queues)
    assert (found["named"].depth, found["named"].unreadable, found["consumed"].depth) == (None, True, 0)
    assert set(found) == {"named", "consumed"}


def test_another_observer_knows_the_same_queues_and_old_figures_are_unknown(company: Company) -> None:
    first = company.observed()
    first.hear("named")
    company.measure(first)
    second = company.observed()
    assert set(company.measure(second)) == {"named"}
    queue_state.write("shop", [ObservedQueue(name="named", at=time.time() - 61, depth=3)])
    assert queue_state.read("shop") == {}
    assert queue_state.names("shop") == ["named"]
    for raw in ("x", "[1]", '{"a": 1}', '[{"name": "x"}]'):
        redis_client().set(f"{OBSERVED_QUEUES}shop", raw)
        assert queue_state.names("shop") == []


def test_an_idle_queue_is_forgotten_after_an_hour(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.send("mail")
    company.redis.delete("_kombu.binding.mail")
    queues = company.observed()
    for name in ("mail", "empty"):
        queues.hear(name)
    assert set(company.measure(queues)) == {"mail", "empty"}
    now = time.monotonic() + 3601
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert set(company.measure(queues)) == {"mail"}


def test_what_strangers_write_is_bounded(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.watching.queues.MOST", 5)
    monkeypatch.setattr(redis_queues, "SCANNED", 1000)
    company.redis.sadd("_kombu.binding.odd", *(f"k\x06\x16\x06\x16q{number}" for number in range(100)), "", "no parts", b"\xff")
    company.redis.sadd("_kombu.binding.x.celery.pidbox", "\x06\x16\x06\x16mine")
    company.redis.set("_kombu.binding.text", "no set")
    company.redis.hset("_kombu.binding.hash", "a", "b")
    company.redis.lpush("q1", b"\xff\x00", "{", json.dumps({"headers": 7}))
    queues = company.observed()
    for name in ("", "x" * 256, "a\x00b", "\ud800"):
        queues.hear(name)
    found = company.measure(queues)
    assert len(found) == 5
    assert all(name.startswith("q") for name in found), sorted(found)


def test_large_messages_are_not_read_all(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_queues, "BYTES_SEEN", 50_000)
    monkeypatch.setattr(redis_queues, "HEADS_READ", 50_000)
    for number in range(6):
        company.send(f"mail-{number}", "x" * 30_000)
        company.send("mail", "x" * 30_000)
    found = company.measure(company.observed())
    assert sum(len(queue.next_ids) for queue in found.values()) == 2
    assert {queue.depth for queue in found.values()} == {1, 6}
    with (
        closing(celery_of(Broker(broker_url()))) as app,
        app.connection_for_read() as connection,
        redis_queues.store_of(connection) as store,
    ):
        assert len(redis_queues.peek(store, "mail", 6)) == 2


def test_a_user_who_may_read_some_keys_only_sees_those_queues(company: Company) -> None:
    for name in ("mail", "bulk"):
        company.send(name)
    server = company.redis
    server.execute_command("ACL", "SETUSER", "shop-user", "on", ">pw", "resetkeys", "~mail*", "~_kombu.*", "&*", "+@all", "-scan")
    try:
        parts = urlsplit(broker_url())
        queues = company.observed()
        queues.hear("mail")
        queues.hear("bulk")
        with closing(celery_of(Broker(f"redis://shop-user:pw@{parts.hostname}:{parts.port}/13"))) as app:
            with app.connection_for_write() as connection:
                queues._measure(app, connection)
            assert {name: queue.depth for name, queue in queue_state.read("shop").items()} == {"mail": 1}
    finally:
        server.execute_command("ACL", "DELUSER", "shop-user")


def test_what_workers_declare_is_told() -> None:
    answer = [
        {"name": "q", "queue_arguments": {"x-queue-type": "quorum"}, "max_priority": None},
        {"name": "p", "queue_arguments": {"x-max-priority": 10, "x-queue-type": "odd"}, "expires": 60.0},
        {"name": 3}, 4, {"name": "o", "queue_arguments": "odd", "max_priority": "odd"},
    ]  # fmt: skip
    assert declarations(answer) == {
        "q": Declaration("quorum"), "p": Declaration(None, 10, expires=True), "o": Declaration(),
    }  # fmt: skip


# --- Shown ---


@pytest.fixture
def shop() -> Application:
    row, _ = watch("shop", Watch(url=broker_url()))
    return row


def observe(*queues: ObservedQueue) -> None:
    queue_state.write("shop", [replace(queue, at=time.time()) for queue in queues])


def test_what_the_observer_measured_is_shown_as_that_of_attached_applications(
    shop: Application, person: Client, api: ApiClient
) -> None:
    observe(
        ObservedQueue(name="mail", depth=1234, by_priority=((0, 1200), (6, 34))), ObservedQueue(name="odd", unreadable=True),
        ObservedQueue(name="gone", missing=True), ObservedQueue(name="bulk", depth=3, consumers=2),
    )  # fmt: skip
    rows = {row["name"]: row for row in api("read").get("/api/v1/queues?application=shop").json()}
    assert {name: row["depth"] for name, row in rows.items()} == {"mail": 1234, "odd": None, "gone": None, "bulk": 3}
    assert rows["mail"]["by_priority"] == [{"priority": 0, "depth": 1200}, {"priority": 6, "depth": 34}]
    assert (rows["odd"]["unreadable"], rows["bulk"]["broker_consumers"], rows["mail"]["depth_age_seconds"] < 30) == (
        True,
        2,
        True,
    )
    page = person.get("/queues/?application=shop").content.decode()
    assert '<span title="1234">' in page
    assert "unreadable" in page
    assert "/queues/of/mail/?application=shop" in page
    for name, words in (
        ("mail", "Priority 6"),
        ("odd", "key of another type"),
        ("gone", "RabbitMQ has no queue"),
        ("bulk", "2 consumers"),
    ):
        assert words in person.get(f"/queues/of/{name}/?application=shop").content.decode()
    assert person.get("/queues/of/unheard/?application=shop").status_code == 404
    assert person.get("/queues/of/mail/?application=nothing").status_code == 404
    depths = {dict(labels)["queue"]: value for (name, labels), value in samples_of_metrics().items() if name == METRIC}
    assert depths == {"mail": 1234, "bulk": 3}


def test_growth_and_rate_come_from_samples_and_reach_the_diagnosis(
    shop: Application, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = int(time.time() // 60) * 60 - 60
    for minutes, depth in ((0, 400), (5, 100)):
        minute = datetime.fromtimestamp(last - 60 * minutes, tz=UTC)
        QueueSample.objects.create(minute=minute, queue="mail", depth=depth, unacknowledged=0, application=shop)
    ended(last, queue="mail", succeeded=50, application_id=shop.pk)
    observe(ObservedQueue(name="mail", depth=400, queue_type="quorum", max_priority=10, consumers=0, settled=True))
    heartbeat.write_heard(
        [heartbeat.Heard("shop@one", {"pid": 1, "slots": 1, "busy": 0, "queues": ["mail"], "held": []}, 0.0)], "shop"
    )
    answer = api("read").get("/api/v1/queues/mail?application=shop").json()
    assert (answer["rate_out"], answer["rate_in"], answer["seconds_to_drain"]) == (10.0, 70.0, None)
    (facts,) = gather(shop).queues or ()
    assert (facts.depth, facts.growth, facts.served, facts.broker_consumers) == (400, 60.0, 10.0, 0)
    assert (facts.queue_type, facts.max_priority) == ("quorum", 10)
    findings = {finding.rule for finding in diagnose(gather(shop)).findings}
    assert {"queue-grows", "channel-closed"} <= findings
    observe(ObservedQueue(name="mail", depth=400, consumers=0))
    assert (gather(shop).queues or ())[0].broker_consumers is None, "its worker has just begun"
    # Tasks whose queue nobody told may have been of this one.
    ended(last, queue="", succeeded=1, application_id=shop.pk)
    (facts,) = gather(shop).queues or ()
    assert (facts.growth, facts.served) == (60.0, None)


def test_samples_are_taken_of_each_application_and_of_none_twice(shop: Application, api: ApiClient) -> None:
    observe(ObservedQueue(name="default", depth=2**40), ObservedQueue(name="odd", unreadable=True))
    samples.take()
    samples.take_others()
    samples.take_others()
    rows = QueueSample.objects.filter(application=shop).values_list("queue", "depth")
    assert list(rows) == [("default", 2**31 - 1)]
    path = "/api/v1/queues/default/history?window=15m"
    depths = [point for point in api("read").get(f"{path}&application=shop").json()["points"] if point["depth"] is not None]
    assert [(point["depth"], point["unacknowledged"]) for point in depths] == [(2**31 - 1, None)]
    assert not any(point["depth"] for point in api("read").get(path).json()["points"])
    assert api("read").get(f"{path}&application=nothing").status_code == 404


def test_the_age_of_the_oldest_is_known_if_its_sender_told_when(shop: Application, api: ApiClient) -> None:
    sent_at = timezone.now() - timedelta(seconds=90)

    def row(id_: str, position_: int) -> None:
        Task.objects.create(
            id=key_of(id_, "shop"), name="shop.pay", queue="mail", status="QUEUED", source="external", created_at=sent_at,
            queued_at=sent_at, application=shop, position=position_,
        )  # fmt: skip

    row("first", position(0, 0, Status.QUEUED))
    row("again", position(0, 1, Status.QUEUED))
    observe(
        ObservedQueue(name="mail", depth=2, next_ids=("first", "unheard")),
        ObservedQueue(name="bulk", depth=1, next_ids=("again",)),
    )
    rows = {row["name"]: row["oldest_seconds"] for row in api("read").get("/api/v1/queues?application=shop").json()}
    assert 90 <= rows["mail"] < 110
    assert rows["bulk"] is None


# --- Looking into one ---


@pytest.fixture
def observer(company: Company, shop: Application, monkeypatch: pytest.MonkeyPatch) -> Iterator[Observer]:
    monkeypatch.setattr("tasks_app.watching.asking.ROUND", 0.1)
    monkeypatch.setattr("tasks_app.watching.answering.BLOCK", 0.2)
    monkeypatch.setattr("tasks_app.watching.queues.MEASURE_EVERY", 0.2)
    monkeypatch.setattr("tasks_app.watching.inspection.TIMEOUT", 0.1)
    monkeypatch.setattr("tasks_app.watching.observer.BLOCK", 0.2)
    here = Observer(Watched(shop.pk, "shop", broker_of(shop)))
    here.start()
    eventually(lambda: (state := observer_state.read("shop")) is not None and state.listens, but=lambda: here.state.reason)
    yield here
    here.stop()


@pytest.mark.django_db(transaction=True)
def test_the_next_messages_are_seen_masked_and_none_is_taken(
    company: Company, observer: Observer, person: Client, api: ApiClient
) -> None:
    eta, expires = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    first = company.send("mail", 7, {"password": "hunter2"}, eta=eta, expires=expires)
    company.send("mail", kwargs={"token": "hunter2", "to": "<b>x</b>"}, priority=6)
    company.send("mail", object(), serializer="pickle")
    bare = json.loads(company.redis.lindex("mail", -1) or b"")
    headers = {"id": "js-1", "task": "js.task", "lang": "js"}
    body = base64.b64encode(json.dumps([[1, {"secret": "hunter2"}], {"k": 2}, None]).encode()).decode()
    deep = "[[" + "[" * 900 + "]" * 900 + "], {}, {}]"
    company.redis.lpush("mail", json.dumps({**bare, "headers": headers, "body": body}), "no json", "x" * 3000)
    company.redis.lpush("mail", json.dumps({"headers": {}, "body": deep, "content-type": JSON}))
    before = {key: value for key, value in keys_and_values(company.redis).items() if key.startswith(b"mail")}
    client = api("read")

    def seen() -> Any:
        answer = client.get("/api/v1/queues/mail/messages?application=shop")
        return answer if answer.status_code == 200 else None

    eventually(lambda: seen() is not None)
    answer = seen()
    assert "hunter2" not in answer.content.decode()
    waiting = answer.json()["waiting"]
    assert [(item["task_id"][:4], item["priority"], item["position"]) for item in waiting] == [
        (first[:4], 0, 1), (waiting[1]["task_id"][:4], 0, 2), ("js-1", 0, 3), ("", 0, 4), ("", 0, 5),
        ("", 0, 6), (waiting[6]["task_id"][:4], 6, 1),
    ]  # fmt: skip
    assert (waiting[0]["task_type"], waiting[0]["args"]) == ("shop.pay", [7, {"password": MASK}])
    assert (waiting[0]["eta"], waiting[0]["expires_at"]) == ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z")
    assert (waiting[1]["content_type"], "object object" in str(waiting[1]["args"])) == ("application/x-python-serialize", True)
    assert (waiting[2]["args"], waiting[2]["kwargs"]) == ([1, {"secret": MASK}], {"k": 2})
    assert (waiting[3]["args"], waiting[3]["content_type"]) == (None, "")
    assert waiting[6]["kwargs"] == {"token": MASK, "to": "<b>x</b>"}
    assert answer.json()["unacknowledged"] is None
    page = person.get("/queues/of/mail/?application=shop").content.decode()
    assert "hunter2" not in page
    assert "which is not read" in page
    assert "&lt;b&gt;x" in page
    assert {key: value for key, value in keys_and_values(company.redis).items() if key.startswith(b"mail")} == before


@pytest.mark.django_db(transaction=True)
def test_other_keys_of_its_redis_are_not_shown(company: Company, observer: Observer, api: ApiClient) -> None:
    company.redis.lpush("payroll", json.dumps({"headers": {"id": "secret-id"}}))
    assert api("read").get("/api/v1/queues/payroll/messages?application=shop").status_code == 404
    with pytest.raises(NotSeenError, match="does not know it"):
        look("shop", "payroll", 5)
    with pytest.raises(NotSeenError, match="look does not take these arguments"):
        look("shop", "x" * 256, 5)


def test_a_look_that_nobody_takes_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.3)
    observer_state.write("shop", ObserverState(listens=True, since=time.time()))
    with pytest.raises(NotSeenError, match=r"The observer of shop did not answer within 0\.3 seconds"):
        look("shop", "mail", 5)
    assert requests.take("shop", 0.1) is None


def test_why_messages_are_not_seen_is_said(shop: Application, person: Client, api: ApiClient) -> None:
    observe(ObservedQueue(name="mail", depth=1))
    answer = api("read").get("/api/v1/queues/mail/messages?application=shop")
    assert (answer.status_code, "no engine runs its observer" in answer.json()["detail"]) == (409, True)
    assert "no engine runs its observer" in person.get("/queues/of/mail/?application=shop").content.decode()
    Application.objects.create(name="till", kind="attached")
    about = heartbeat.About(depths=[heartbeat.Depth("mail", 1)], depths_age=1.0)
    heartbeat.write("till@one", slots=1, busy=0, queues=["mail"], application="till", about=about)
    answer = api("read").get("/api/v1/queues/mail/messages?application=till")
    assert (answer.status_code, "does not see the broker of till" in answer.json()["detail"]) == (409, True)
    assert "does not see the broker" in person.get("/queues/of/mail/?application=till").content.decode()


ODD: dict[str, dict[str, Any]] = {
    "empty": {},
    "null": {"headers": None},
    "types": {"headers": {"id": 7, "task": ["x"], "argsrepr": 3, "eta": {}, "expires": 1}},
    "surrogate": {"headers": {"id": "\ud800\x00", "argsrepr": "(" * 500}, "properties": {"priority": "x"}, "content-type": JSON},
    "escaped": {"headers": {"argsrepr": r"('\ud800', 'nan')", "kwargsrepr": r"{'\x00': 1e999}"}, "content-type": JSON},
    "no-arguments": {"body": "W10=", "content-type": JSON, "properties": {"body_encoding": "base64"}},
    "odd-arguments": {"body": r'[["\ud800", NaN], {"\u0000": 1e999}, {}]', "content-type": JSON},
    "deep": {"body": "[[" + "[" * 900 + "]" * 900 + "], {}, {}]", "content-type": JSON},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_messages_are_described(name: str, shop: Application) -> None:
    (message,) = shown([describe(ODD[name], 0, position=1)], shop)
    assert message.oddity or message.message.content_type
    texts = [message.arguments_text, message.message.task_id, message.message.task_name]
    json.dumps([message.arguments, texts], allow_nan=False, ensure_ascii=False, default=str).encode()
