"""Reports of an attached application wait within a bound, and what is beyond it is counted."""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Iterator

import pytest
import redis

from tests.waiting import eventually
from zenith_worker import buffer
from zenith_worker.buffer import Buffer
from zenith_worker.wire import applications
from zenith_worker.wire.client import client
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import APPLICATIONS, application_keys
from zenith_worker.wire.states import Status

KEYS = application_keys("shop")


def event(id_: str, **more: object) -> Event:
    return Event(task_id=id_, status=Status.QUEUED, at=time.time(), **more)


def sent() -> list[str]:
    entries = client().xrange(KEYS.events)
    return [row["task_id"] for _, fields in entries for row in json.loads(fields[b"e"])]


def away(*_: object) -> None:
    raise redis.ConnectionError("away")


@pytest.fixture
def reports() -> Iterator[Buffer]:
    client().flushdb()
    buffered = Buffer("shop", "shop.main")
    yield buffered
    atexit.unregister(buffered.flush)
    buffered._rows.clear()


def test_reports_are_sent_in_order_and_the_application_announces_itself(reports: Buffer) -> None:
    for number in range(1000):
        reports.add(event(str(number)))
    eventually(lambda: len(sent()) == 1000)
    assert sent() == [str(number) for number in range(1000)]
    assert client().xlen(KEYS.events) < 100, "they go in batches"
    (found,) = applications.announced()
    assert (found.name, found.main) == ("shop", "shop.main")


def test_what_is_beyond_the_bound_is_dropped_and_counted(reports: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "EVENTS_KEPT", 10)
    with monkeypatch.context() as outage:
        outage.setattr(buffer, "command", away)
        for number in range(25):
            reports.add(event(str(number)))
        assert (len(reports), reports.dropped) == (10, 15)
        eventually(lambda: reports._is_failing)
    eventually(lambda: len(sent()) == 10)
    assert eventually(lambda: client().hvals(KEYS.dropped)) == [b"15"]
    reports.add(event("next"))
    eventually(lambda: len(sent()) == 11)
    assert client().hvals(KEYS.dropped) == [b"15"]


def test_large_reports_are_bounded_by_their_size(reports: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "BYTES_KEPT", 10_000)
    monkeypatch.setattr(buffer, "command", away)
    for number in range(20):
        reports.add(event(str(number), name="x" * 1000))
    assert (len(reports), reports.dropped) == (9, 11)


def test_a_report_that_cannot_be_encoded_is_left_out_and_the_others_go_on(reports: Buffer) -> None:
    odd = event("odd")
    odd.at = object()  # type: ignore[assignment]
    reports.add(odd, event("next"))
    eventually(lambda: sent() == ["next"])


def test_the_end_of_a_process_sends_what_is_left(reports: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "GATHER", 60)
    reports.add(event("last"))
    reports.flush()
    assert sent() == ["last"]


def test_the_end_of_a_process_does_not_wait_for_a_redis_that_is_away(
    reports: Buffer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(buffer, "GATHER", 60)
    monkeypatch.setattr(buffer, "command", away)
    reports.add(event("last"))
    reports.flush()
    assert "1 reports to Zenith are lost" in caplog.text


def test_a_forked_child_sends_only_its_own(reports: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(buffer, "GATHER", 60)
        reports.add(event("parent's"))
    child = os.fork()
    if not child:
        try:
            reports.add(event("child's"))
            reports.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert sent() == ["child's"]
    reports.flush()
    assert sorted(sent()) == ["child's", "parent's"]


def test_what_a_child_cannot_send_its_parent_sends(reports: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(buffer, "command", away)
            for number in range(3):
                reports.add(event(f"{number}\n"))
            reports.flush(in_pool=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert not sent()
    reports.adopt()
    reports.flush()
    assert sent() == ["0\n", "1\n", "2\n"]
    reports.adopt()
    reports.close()
    assert not reports._left.exists()


def test_a_forked_process_outside_of_a_pool_leaves_nothing_behind(reports: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(buffer, "command", away)
            reports.add(event("nobody adopts it"))
            reports.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert not reports._left.exists()


def test_zenith_takes_in_only_so_many_applications(reports: Buffer, caplog: pytest.LogCaptureFixture) -> None:
    client().hset(APPLICATIONS, mapping={f"a{number}": "{}" for number in range(applications.ANNOUNCED_AT_MOST)})
    reports.add(event("one"))
    eventually(lambda: "does not take in shop" in caplog.text)
    assert not client().hexists(APPLICATIONS, "shop")


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("Shop", "{}"), ("zenith", "{}"), ("-", "{}"), ("a" * 51, "{}"), ("shop", "no JSON"), ("shop", "[]"),
        ("shop", '{"main": 3}'), ("shop", '{"main": "\\u0000"}'), ("shop", '{"main": "\\ud800"}'),
        ("shop\x00", "{}"), ("shop\n", "{}"),
    ],
)  # fmt: skip
def test_an_invalid_announcement_is_left_out_and_the_others_count(name: str, about: str, reports: Buffer) -> None:
    client().hset(APPLICATIONS, mapping={name: about, "clinic": '{"celery": "5.3.6", "new": []}'})
    assert [(found.name, found.celery) for found in applications.announced()] == [("clinic", "5.3.6")]
