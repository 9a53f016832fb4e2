"""The last hour of queues and workers: counted once, sampled, kept for a day, and drawn with words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.analytics import histories
from tasks_app.maintenance import retention, samples
from tasks_app.models import Application, QueueSample, WorkerMinute
from tasks_app.models.application import NATIVE_ID
from tasks_app.recording import worker_minutes
from tasks_app.recording.apply import apply
from tests.integration.test_applications import attach
from tests.rollups import ended
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
WORKER = "w1@host"


@pytest.fixture(autouse=True)
def emptied_redis() -> Iterator[None]:
    stream.client().flushdb()
    yield
    stream.client().flushdb()


def end(status: Status = Status.SUCCESS, *, at: float | None = None, worker: str = WORKER, of: str = NATIVE) -> list[Event]:
    """Record the end of a task on a worker; return what was reported."""
    at = time.time() if at is None else at
    more: dict[str, Any] = {} if status == Status.SUCCESS else {"error_type": "KeyError", "error_message": "x"}
    event = Event(
        task_id=str(new_id()),
        status=status,
        at=at,
        name="t",
        queue="default",
        worker=worker,
        started_at=at - 1,
        application=of,
        **more,
    )
    apply([event], {NATIVE: NATIVE_ID, **({of: attach(of).pk} if of != NATIVE else {})})
    return [event]


def rows() -> list[tuple[str, str, int, int]]:
    """What is counted, by application and worker."""
    found = WorkerMinute.objects.order_by("application", "worker", "minute")
    return list(found.values_list("application__name", "worker", "succeeded", "failed"))


def minute(back: int) -> datetime:
    return datetime.fromtimestamp((time.time() // 60 - back) * 60, tz=UTC)


def test_what_ends_on_a_worker_is_counted_once_however_often_it_is_told() -> None:
    at = time.time() // 60 * 60
    told = [*end(at=at), *end(at=at), *end(Status.FAILURE, at=at)]
    apply(told)
    assert rows() == [("zenith", WORKER, 2, 1)]


def test_workers_of_applications_are_told_apart_and_strange_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    attach("shop")
    monkeypatch.setattr(worker_minutes, "MAX_WORKERS", 2)
    monkeypatch.setattr(worker_minutes, "_known", {})
    end()
    for number in range(4):
        end(worker=f"odd{number}@till", of="shop")
    end(worker="", of="shop")
    assert rows() == [("zenith", WORKER, 1, 0), ("shop", "odd0@till", 1, 0), ("shop", "odd1@till", 1, 0)]


def test_what_ended_days_ago_or_at_an_impossible_time_is_not_counted() -> None:
    attach("shop")
    end(at=time.time() - 2 * worker_minutes.KEPT)
    end(at=1.0, of="shop")
    end(at=time.time() + 30 * 86_400, of="shop")
    assert rows() == []


def test_samples_tell_who_was_online_and_the_largest_memory_of_a_minute() -> None:
    attach("shop")
    for memory in (50, 70, 60):
        heartbeat.write(WORKER, slots=1, busy=0, queues=[], about=heartbeat.About(memory_bytes=memory))
        samples.take_workers()
    heartbeat.write_heard([heartbeat.Heard("till@one", {"pid": 1, "slots": 1, "busy": 0, "queues": [], "held": []}, 0.0)], "shop")
    heartbeat.write("x" * 300, slots=1, busy=0, queues=[], application="shop")
    samples.take_workers()
    found = WorkerMinute.objects.order_by("application", "-memory_bytes").values_list("worker", "memory_bytes")
    # The minute may have changed meanwhile.
    assert (WORKER, 70) in found
    assert {worker for worker, _ in found} == {WORKER, "till@one"}


def test_a_step_without_a_sample_is_unknown_and_an_idle_one_is_zero() -> None:
    native = Application.native()
    WorkerMinute.objects.create(minute=minute(1), worker=WORKER, memory_bytes=7)
    QueueSample.objects.create(minute=minute(1), queue="default", depth=3, unacknowledged=0)
    ended(minute(1).timestamp(), queue="default", succeeded=4, failed=1)
    worker = histories.of_workers([("zenith", WORKER), ("zenith", "other@host")])
    assert {value for value in worker["zenith", WORKER].finished if value is not None} == {0}
    assert 7 in worker["zenith", WORKER].memory
    assert set(worker["zenith", "other@host"].memory) == {None}
    queue = histories.of_queues(["default"], native)["default"]
    assert (sum(queue.finished), sum(queue.failed)) == (5, 1)
    assert [depth for depth in queue.depth if depth is not None] == [3]
    assert (len(queue.depth), len(queue.finished)) == (12, 12)


def test_minutes_of_workers_are_kept_for_a_day() -> None:
    for hours in (0, 23, 25, 27, 200):
        WorkerMinute.objects.create(minute=timezone.now() - timedelta(hours=hours), worker=WORKER)
    rule = next(rule for rule in retention.rules() if rule.name == "workers' minutes")
    assert rule.count() == 3
    assert sum(rule.prune()) == 3
    assert WorkerMinute.objects.count() == 2


@pytest.mark.parametrize("application", ["zenith", "shop"])
def test_lists_and_pages_draw_the_last_hour_and_say_it_in_words(
    application: str, person: Client, django_assert_max_num_queries: Any
) -> None:
    row = Application.native() if application == "zenith" else attach("shop")
    of = "" if row.is_native else "?application=shop"
    about = heartbeat.About(memory_bytes=5 << 20)
    heartbeat.write(WORKER, slots=1, busy=0, queues=["default"], application=row.key_name, about=about)
    WorkerMinute.objects.create(application=row, minute=minute(2), worker=WORKER, succeeded=1200, failed=40, memory_bytes=5 << 20)
    QueueSample.objects.create(application=row, minute=minute(2), queue="default", depth=31, unacknowledged=0)
    ended(minute(2).timestamp(), queue="default", succeeded=9, failed=1, application_id=row.pk)
    for paths, words in (
        (("/workers/", f"/workers/{WORKER}/"), ("1,240 tasks, 40 failed", "5.0 MB last, 5.0 MB at most")),
        (("/queues/", "/queues/of/default/"), ("10 tasks, 1 failed", "31 last, 31 at most")),
    ):
        for path in paths:
            with django_assert_max_num_queries(12):
                page = person.get(path + of).content.decode()
            for sentence in words:
                assert f"in the last hour: {sentence}" in page


def test_a_queue_that_others_may_have_been_of_says_at_least(person: Client) -> None:
    shop = attach("shop")
    heartbeat.write("w@till", slots=1, busy=0, queues=["default"], application="shop")
    ended(minute(2).timestamp(), queue="default", succeeded=9, application_id=shop.pk)
    assert "in the last hour: 9 tasks, none failed" in person.get("/queues/of/default/?application=shop").content.decode()
    ended(minute(2).timestamp(), queue="", succeeded=1, application_id=shop.pk)
    assert "in the last hour: at least 9 tasks, none failed" in person.get("/queues/?application=shop").content.decode()
