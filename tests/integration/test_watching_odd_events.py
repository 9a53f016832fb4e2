"""Whatever strangers tell an observer: it is recorded, or set aside and counted, and nothing else stops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.models import Task
from tasks_app.watching import observer_state
from tasks_app.watching.observer import Observer
from tasks_app.watching.representations import KEPT
from tests.integration.conftest import ApiClient
from tests.integration.watching import Company, observing, one_task, quicken, record
from tests.waiting import eventually
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import UNREADABLE

pytestmark = pytest.mark.django_db(transaction=True)


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


def told(id_: str, **changes: Any) -> list[dict[str, Any]]:
    """Return the events of a task that succeeds, as they are published, with other members."""
    about = {"hostname": "shop@one", "timestamp": time.time(), "utcoffset": 0, "pid": 1, "clock": 1}
    return [{**about, **event, **changes} for event in one_task(id_)]


#: Members that no event of Celery's has.
ODD: dict[str, dict[str, Any]] = {
    "no id": {"uuid": None}, "an empty id": {"uuid": ""}, "a number as its id": {"uuid": 7}, "a list as its id": {"uuid": ["a"]},
    "an id of 10 kB": {"uuid": "x" * 10_000},
    "no worker": {"hostname": None}, "a worker without a name": {"hostname": ""},
    "a worker's name of 10 kB": {"hostname": "x" * 10_000},
    "a worker that no database can hold": {"hostname": "shop@\x00"}, "half a letter": {"hostname": "shop@\ud800"},
    "an object as its worker": {"hostname": {"a": 1}},
    "no time": {"timestamp": None}, "a text as its time": {"timestamp": "now"}, "a time beyond all": {"timestamp": 10**400},
    "true as its time": {"timestamp": True},
    "less than no retries": {"retries": -1}, "a text of retries": {"retries": "1"},
    "more retries than can be": {"retries": 2**40},
}  # fmt: skip
#: Members that are odd and tell enough.
STRANGE: dict[str, dict[str, Any]] = {
    "a worker's name of another script": {"hostname": "läden@\N{SNOWMAN}"}, "one without its host": {"hostname": "one"},
    "control characters in it": {"hostname": "shop@\x1b[31m\n\r"}, "a long one": {"hostname": "x" * 255},
    "an id with letters of all kinds": {"uuid": "nightly/1 \N{SNOWMAN}\n\x00<b>"}, "half a letter in an id": {"uuid": "a\ud800"},
    "a long id": {"uuid": "y" * 1024},
    "no offset": {"utcoffset": None}, "a text as its offset": {"utcoffset": "west"},
    "an offset of another world": {"utcoffset": 1e300},
    "a clock from another century": {"timestamp": 1e9}, "a clock in the future": {"timestamp": time.time() + 1e6},
    "a clock before all": {"timestamp": -1e300},
    "arguments of other types": {"args": 7, "kwargs": [["a"]]}, "values that are deep": {"args": "[" * 900 + "]" * 900},
    "a name that is no text": {"name": {"a": 1}}, "half a letter in a name": {"name": "shop.\udfff\x00"},
    "a process that is none": {"pid": "x", "clock": [], "runtime": "fast"}, "no number as its runtime": {"runtime": float("nan")},
    "a result of another type": {"result": {"a": [1]}},
}  # fmt: skip


def test_events_that_are_odd_are_set_aside_and_counted_and_those_beside_them_are_recorded(
    company: Company, observer: Observer, api: ApiClient
) -> None:
    odd = [{**told("odd")[0], **changes} for changes in ODD.values()]
    good = told("good")
    company.publish([good[0], *odd[:9], good[1], *odd[9:], good[2]])
    eventually(lambda: record() and Task.objects.filter(status="SUCCESS").count() == 1)
    assert observer.odd == len(ODD)
    eventually(lambda: (state := observer_state.read("shop")) is not None and state.odd == len(ODD))
    assert api().get("/api/v1/applications/shop").json()["observer"]["odd"] == len(ODD)
    assert Task.objects.get().celery_id == "good"
    reasons = {entry[1][b"reason"].decode() for entry in redis_client().xrange(UNREADABLE)}  # type: ignore[union-attr]
    assert {
        f"an event of shop: its {what}" for what in ("hostname is no name", "uuid is no text of 1 to 1,024 characters")
    } <= reasons
    assert [beat.name for beat in heartbeat.read_all("shop")] == ["shop@one"]


def test_events_that_are_strange_and_tell_enough_are_recorded(company: Company, observer: Observer) -> None:
    company.publish([event for what, changes in STRANGE.items() for event in told(what, **changes)])
    eventually(
        lambda: record() and Task.objects.filter(status="SUCCESS").count() == len(STRANGE),
        but=lambda: f"{observer.odd}: {list(Task.objects.values_list('text_id', 'status'))}",
    )  # fmt: skip
    assert observer.odd == 0
    assert not Task.objects.filter(finished_at__gt=timezone.now()).exists()
    assert not Task.objects.filter(finished_at__year__lt=2020).exists()
    # What they tell of workers is listed as well.
    eventually(lambda: {beat.name for beat in heartbeat.read_all("shop")} >= {"one", "läden@\N{SNOWMAN}", "x" * 255})


def test_a_burst_is_taken_in_portions_and_nothing_of_it_is_lost(
    company: Company, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.watching.observer.MOST_GATHERED", 50)
    monkeypatch.setattr("tasks_app.watching.observer.BATCH", 20)
    monkeypatch.setattr("tasks_app.watching.subscription.AT_ONCE", 5)
    events = [event for number in range(400) for event in told(f"burst {number}")]
    for start in range(0, len(events), 100):
        company.publish(events[start : start + 100])
    eventually(lambda: record() and Task.objects.filter(status="SUCCESS").count() == 400)
    state = observer_state.read("shop")
    assert state is not None
    assert (state.lost, observer.odd) == (0, 0)


def test_a_large_result_is_cut_and_what_is_larger_than_can_be_is_set_aside(
    company: Company, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, started, succeeded = told("large")
    company.publish([received, started, {**succeeded, "result": "x" * 6_000_000, "traceback": "y" * 1_000_000}])
    eventually(lambda: record() and Task.objects.filter(status="SUCCESS").exists())
    assert len(TaskResult.objects.get().result) <= KEPT + 2
    monkeypatch.setattr("tasks_app.watching.receiver.LARGEST", 100_000)
    company.publish(told("larger", result="x" * 100_000))
    company.publish(told("after"))
    eventually(lambda: record() and Task.objects.filter(id=key_of("after", "shop"), status="SUCCESS").exists())
    assert observer.odd == 1
    assert not Task.objects.filter(id=key_of("larger", "shop")).exists()


def test_a_clock_that_jumps_gives_no_time_that_cannot_be(company: Company, observer: Observer) -> None:
    received, started, succeeded = told("a")
    now = time.time()
    company.publish(
        [{**received, "timestamp": now - 30}, {**started, "timestamp": now - 7200}, {**succeeded, "timestamp": now + 900}]
    )
    eventually(lambda: record() and Task.objects.filter(status="SUCCESS").exists())
    task = Task.objects.get()
    assert None not in (task.received_at, task.started_at, task.finished_at)
    assert abs(task.received_at.timestamp() - (now - 30)) < 1  # type: ignore[union-attr]
    for at in (task.started_at, task.finished_at):
        assert now - 1 <= at.timestamp() <= time.time()  # type: ignore[union-attr]


def test_odd_heartbeats_are_set_aside_and_a_worker_is_listed_with_what_it_tells_rightly(
    company: Company, observer: Observer
) -> None:
    beat = {"type": "worker-heartbeat", "timestamp": time.time(), "utcoffset": 0}
    odd = [{"hostname": "x" * 10_000}, {"hostname": None}, {"hostname": "a\x00"}, {"hostname": "b", "timestamp": "soon"}]
    strange = {"hostname": "c", "freq": "often", "active": -1, "processed": "many", "pid": 2**70, "sw_ver": ["5"]}
    company.publish([{**beat, **item} for item in (*odd, strange)])
    eventually(lambda: [item.name for item in heartbeat.read_all("shop")] == ["c"])
    [listed] = heartbeat.read_all("shop")
    assert (listed.busy, listed.processed, listed.version) == (0, None, "")
    assert observer.odd == len(odd)
