"""The queues of a watched application: measured at its real Redis without a trace, shown with what is known, and looked into."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from tasks_app.watching import queue_state, redis_queues
from tasks_app.watching.brokers import Broker, celery_of
from tasks_app.watching.declarations import Declaration, declarations
from tasks_app.watching.heard_workers import HeardWorkers
from tasks_app.watching.queue_state import ObservedQueue
from tasks_app.watching.queues import Queues
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.keys import OBSERVED_QUEUES

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
        return str(self.app.send_task("shop.pay", args, queue=queue, **options).id)

    def observed(self) -> Queues:
        return Queues("shop", HeardWorkers())

    def measure(self, queues: Queues) -> dict[str, ObservedQueue]:
        with closing(celery_of(Broker(broker_url(), self.prefix))) as app:
            queues._measure(app)
        return queue_state.read("shop")


@pytest.fixture
def company() -> Iterator[Company]:
    here = Company()
    yield here
    here.app.close()


def keys_and_values(store: redis.Redis) -> dict[bytes, Any]:
    return {key: store.dump(key) for key in store.keys()}


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
    with closing(celery_of(Broker(broker_url()))) as app, app.connection_for_read() as connection:
        with redis_queues.store_of(connection) as store:
            assert len(redis_queues.peek(store, "mail", 6)) == 2


def test_what_workers_declare_is_told() -> None:
    answer = [
        {"name": "q", "queue_arguments": {"x-queue-type": "quorum"}, "max_priority": None},
        {"name": "p", "queue_arguments": {"x-max-priority": 10, "x-queue-type": "odd"}, "expires": 60.0},
        {"name": 3}, 4, {"name": "o", "queue_arguments": "odd", "max_priority": "odd"},
    ]  # fmt: skip
    assert declarations(answer) == {
        "q": Declaration("quorum"), "p": Declaration(None, 10, expires=True), "o": Declaration(),
    }  # fmt: skip
