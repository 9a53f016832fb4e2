"""What attached applications report: recorded apart from Zenith's own tasks and from each other, and never repaired."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.control import queues
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.publish import publish_due
from tasks_app.maintenance import applications
from tasks_app.maintenance.reconciler import SETTLED_AFTER, LostTaskSearch
from tasks_app.models import Application, Attempt, DeadLetter, MinuteRollup, Task, TaskEvent, TaskMessage
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.task_keys import forget_applications, tasks_meant
from tasks_app.queries.tasks import TaskFilter
from tasks_app.recording import recorder
from tasks_app.recording.recorder import Recorder
from zenith_worker.wire import applications as announcements
from zenith_worker.wire import heartbeat, keys, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

SHOP, BANK = "shop", "bank"
START = 1_800_000_000.0


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()
    stream.ensure_group()
    forget_applications()


@pytest.fixture
def shop() -> Application:
    return attached(SHOP)


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a long enough one"))
    return client


def attached(name: str) -> Application:
    return Application.objects.create(name=name, kind="attached")


def step(task_id: str, status: Status, at: float = START, **more: Any) -> Event:
    return Event(task_id=task_id, status=status, at=at, **more)


def sent(task_id: str, **more: Any) -> Event:
    return step(task_id, Status.QUEUED, name="shop.charge", queue="default", args=[7], kwargs={"who": "ann"}, **more)


def record() -> int:
    """Run one recorder until the streams are empty; return how many entries it handled."""
    one = Recorder(threading.Event())
    handled = 0
    while count := one.step(block=0.01):
        handled += count
    return handled


def report(application: str, *events: Event) -> None:
    for event in events:
        stream.append([event], application)


def own_task(task_id: str | None = None) -> str:
    """The id of a task that Zenith's own application has on the broker."""
    task_id = task_id or str(uuid4())
    stream.append([step(task_id, Status.QUEUED, name="zenith.own", queue="default", args=[1], kwargs={})])
    return task_id


def task_of(application: str, task_id: str) -> Task:
    return Task.objects.get(id=key_of(task_id, application))


# --- What is written ---


def test_a_task_is_recorded_with_its_arguments_its_attempts_and_its_result(shop: Application) -> None:
    id_, parent = str(uuid4()), str(uuid4())
    report(
        SHOP, sent(id_, parent_id=parent, extras={"headers": {"tenant": 4}}),
        step(id_, Status.STARTED, START + 1, worker="celery@host", early=True),
        step(id_, Status.RETRY, START + 2, worker="celery@host", error_type="ValueError", error_message="no", held=True),
        step(id_, Status.SUCCESS, START + 4, attempt=1, worker="celery@host", started_at=START + 3, runtime=1.0, result="[5]"),
    )  # fmt: skip
    assert record() == 4
    task = task_of(SHOP, id_)
    assert (task.application, task.text_id, task.celery_id, task.source) == (shop, id_, id_, "external")
    assert (task.name, task.queue, task.args, task.kwargs) == ("shop.charge", "default", [7], {"who": "ann"})
    assert (task.status, task.worker, task.runtime, task.acks_early, task.held) == ("SUCCESS", "celery@host", 1.0, True, False)
    assert task.parent_id == key_of(parent, SHOP)
    result = TaskResult.objects.get()
    assert (result.task_id, result.result) == (str(task.id), "[5]")
    assert Attempt.objects.get(task=task).error_type == "ValueError"
    assert list(TaskEvent.objects.order_by("id").values_list("status", flat=True)) == [
        "QUEUED",
        "STARTED",
        "RETRY",
        "STARTED",
        "SUCCESS",
    ]
    assert TaskMessage.objects.get().extras == {"headers": {"tenant": 4}}
    assert stream.length(SHOP) == 0


def test_a_failure_leaves_a_dead_letter_and_is_counted_apart_from_zeniths_own(shop: Application) -> None:
    failure = {"error_type": "ValueError", "error_message": "no", "name": "t", "queue": "default"}
    now = time.time()
    report(SHOP, step("a", Status.FAILURE, now, **failure), step("b", Status.RETRY, now, **failure))
    record()
    assert task_of(SHOP, "a").status == "FAILURE"
    assert DeadLetter.objects.get().task_id == key_of("a", SHOP)
    report(keys.NATIVE, step("a", Status.FAILURE, now, **failure))
    record()
    assert DeadLetter.objects.get(application=NATIVE_ID).task_id == key_of("a")
    assert sorted(MinuteRollup.objects.values_list("application", "failed", "retried")) == [(NATIVE_ID, 1, 0), (shop.pk, 1, 1)]


@pytest.mark.parametrize("id_", ["6f0d0c0e-8f6b-4e3b-9d55-0c1f6c3f5b11", "nightly", "x" * 300])
def test_the_same_id_in_three_applications_is_three_tasks(shop: Application, id_: str) -> None:
    bank = attached(BANK)
    for name, value in ((keys.NATIVE, "1"), (SHOP, "2"), (BANK, "3")):
        report(name, sent(id_), step(id_, Status.SUCCESS, START + 1, result=value))
    record()
    assert list(Task.objects.order_by("application_id").values_list("application_id", flat=True)) == [NATIVE_ID, shop.pk, bank.pk]
    assert {task.celery_id for task in Task.objects.all()} == {id_}
    assert sorted(TaskResult.objects.values_list("result", flat=True)) == ["1", "2", "3"]


def test_an_application_cannot_reach_a_task_of_zeniths_own_by_its_id(shop: Application) -> None:
    id_ = own_task()
    record()
    report(SHOP, step(id_, Status.SUCCESS, START + 1, result="666"))
    record()
    assert Task.objects.get(id=id_).status == "QUEUED"
    assert (task_of(SHOP, id_).status, task_of(SHOP, id_).application) == ("SUCCESS", shop)


def test_an_entry_cannot_choose_its_application(shop: Application) -> None:
    row = {"task_id": "a", "status": "QUEUED", "at": START, "application": "bank", "text_id": "b", "application_id": 1}
    stream.client().xadd(keys.application_keys(SHOP).events, {"e": json.dumps([row])})
    record()
    task = Task.objects.get()
    assert (task.id, task.application, task.text_id) == (key_of("a", SHOP), shop, "a")


def test_a_task_that_has_another_applications_key_as_its_id_changes_nothing_and_is_set_aside(shop: Application) -> None:
    report(SHOP, sent("a"))
    record()
    forged = str(key_of("a", SHOP))
    report(keys.NATIVE, step(forged, Status.FAILURE, START + 1, error_type="Forged"))
    other = own_task()
    record()
    assert (task_of(SHOP, "a").status, task_of(SHOP, "a").application) == ("QUEUED", shop)
    assert Task.objects.get(id=other).name == "zenith.own"
    assert (stream.length(), stream.unreadable_count()) == (0, 1)


def test_an_application_cannot_make_zenith_send_a_task(shop: Application) -> None:
    report(
        SHOP,
        step("a", Status.PENDING, name="t", queue="default"),
        step("b", Status.SCHEDULED, name="t", queue="default"),
        sent("c"),
    )
    record()
    assert [task.text_id for task in Task.objects.all()] == ["c"]
    assert stream.unreadable_count() == 2
    # Nor if its row should be in such a status all the same.
    Task.objects.update(status=Status.PENDING)
    assert publish_due() == 0
    Task.objects.update(application=NATIVE_ID)
    assert publish_due() == 1


# --- The recorder ---


def test_what_cannot_be_read_is_set_aside_and_counted_while_the_rest_goes_on(shop: Application) -> None:
    stream.client().xadd(keys.application_keys(SHOP).events, {"e": "nonsense"})
    stream.client().xadd(keys.application_keys(SHOP).events, {"other": "field"})
    report(SHOP, sent("a"))
    id_ = own_task()
    assert record() == 4
    assert {task.celery_id for task in Task.objects.all()} == {"a", id_}
    assert (stream.length(), stream.length(SHOP), stream.unreadable_count()) == (0, 0, 2)
    assert {row[1][b"application"] for row in stream.client().xrange(keys.UNREADABLE)} == {SHOP.encode()}


def test_what_postgresql_refuses_of_one_application_is_set_aside_alone(
    shop: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = step("bad", Status.RETRY, name="t", queue="q", error_type="E")
    report(SHOP, sent("a"), bad)
    id_ = own_task()
    really_apply, batches = recorder.apply, []

    def refusing(events: Any, known: Any) -> int | None:
        batches.append({event.application for event in events})
        if any(event.task_id == "bad" for event in events):
            raise ValueError("refused")
        return really_apply(events, known)

    monkeypatch.setattr(recorder, "apply", refusing)
    record()
    assert {task.celery_id for task in Task.objects.all()} == {"a", id_}
    assert (stream.length(), stream.length(SHOP), stream.unreadable_count()) == (0, 0, 1)
    assert batches[:2] == [{keys.NATIVE, SHOP}, {keys.NATIVE}], "Zenith's own were not applied by themselves"


def test_a_flood_of_one_application_does_not_delay_zeniths_own(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BATCH", 10)
    report(SHOP, *(sent(f"a{number}") for number in range(50)))
    for _ in range(5):
        own_task()
    one = Recorder(threading.Event())
    assert one.step(block=0.01) == 15
    assert Task.objects.filter(application=NATIVE_ID).count() == 5
    for _ in range(5):
        own_task()
    assert one.step(block=0.01) == 10, "both share a batch"
    assert Task.objects.filter(application=NATIVE_ID).count() == 10
    assert stream.length(SHOP) == 35
    record()
    assert Task.objects.count() == 60


@pytest.mark.parametrize("broken", ["gone", "text"])
def test_a_stream_that_is_gone_or_none_stops_nobody(shop: Application, broken: str) -> None:
    bank = attached(BANK)
    one = Recorder(threading.Event())
    one.step(block=0.01)
    stream.client().delete(keys.application_keys(SHOP).events)
    if broken == "text":
        stream.client().set(keys.application_keys(SHOP).events, "x")
    id_ = own_task()
    assert one.step(block=0.01) == 1
    assert Task.objects.get(id=id_)
    report(BANK, sent("b"))
    # As if some seconds had passed.
    one._applications._next_refresh = 0.0
    assert one.step(block=0.01) == 1
    assert task_of(BANK, "b").application == bank


def test_what_a_dead_recorder_had_read_of_an_application_is_claimed(shop: Application) -> None:
    stream.ensure_group(SHOP)
    report(SHOP, sent("a"))
    (entry,) = stream.read("dead", count=10, block=0.01, applications=[keys.NATIVE, SHOP])
    assert entry.application == SHOP
    idle = int(recorder.CLAIM_AFTER * 1000) + 1
    stream.client().xclaim(keys.application_keys(SHOP).events, stream.GROUP, "dead", 0, [entry.id], idle=idle)
    one = Recorder(threading.Event())
    assert one.step(block=0.01) == 0, "the first look is for Zenith's own"
    one._next_claim = 0.0
    assert one.step(block=0.01) == 1
    assert task_of(SHOP, "a").name == "shop.charge"
    assert stream.length(SHOP) == 0


# --- Announcements ---


def test_an_application_that_announces_itself_is_taken_in_with_all_that_it_had_sent() -> None:
    report(SHOP, sent("a"))
    announcements.announce(SHOP, "shop.main")
    announcements.announce("quiet", "q")
    stream.client().hset(keys.APPLICATIONS, "zenith", '{"main": "forged"}')
    for _ in range(2):
        applications.take_in()
    assert list(Application.objects.values_list("name", "kind", "main")) == [
        ("zenith", "native", "zenith_site"), ("quiet", "attached", "q"), (SHOP, "attached", "shop.main"),
    ]  # fmt: skip
    shop = Application.objects.get(name=SHOP)
    assert shop.first_heard_at
    assert shop.last_heard_at
    assert timezone.now() - shop.last_heard_at < timedelta(seconds=30)
    assert Application.objects.get(name="quiet").last_heard_at is None
    record()
    assert task_of(SHOP, "a").application == shop


def test_looking_again_uses_up_no_ids_and_writes_only_what_has_changed() -> None:
    announcements.announce(SHOP, "one")
    applications.take_in()
    first = Application.objects.get(name=SHOP)
    for _ in range(3):
        applications.take_in()
    announcements.announce(SHOP, "two")
    heartbeat.write("celery@host", slots=1, busy=0, queues=[], application=SHOP)
    applications.take_in()
    shop = Application.objects.get(name=SHOP)
    assert (shop.pk, shop.main, shop.first_heard_at) == (first.pk, "two", first.first_heard_at)
    assert shop.last_heard_at is not None
    announcements.announce(BANK, "")
    applications.take_in()
    assert Application.objects.get(name=BANK).pk == first.pk + 1
    heard = shop.last_heard_at
    heartbeat.write("celery@host", slots=1, busy=0, queues=[], application=SHOP)
    applications.take_in()
    assert Application.objects.get(name=SHOP).last_heard_at == heard, "it is written at every look"


def test_an_application_whose_keys_are_broken_is_taken_in_all_the_same() -> None:
    for name in (SHOP, BANK):
        announcements.announce(name, "")
    stream.client().set(keys.application_keys(BANK).events, "x")
    stream.client().set(keys.application_keys(BANK).workers, "x")
    applications.take_in()
    assert {app.name for app in Application.objects.all()} == {"zenith", SHOP, BANK}


# --- Nothing is repaired ---


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lost() -> set[UUID]:
    clock = Clock()
    search = LostTaskSearch(clock)
    found: set[UUID] = set()
    while clock.now <= SETTLED_AFTER + 1:
        found |= {task.key for task in search.run_once()}
        clock.now += 3.0
    return found


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RECEIVED, Status.STARTED])
def test_only_a_task_of_zeniths_own_is_missed(shop: Application, status: Status) -> None:
    id_ = str(uuid4())
    for name in (SHOP, keys.NATIVE):
        report(name, step(id_, status, time.time(), name="t", queue="default", worker="dead@host"))
    record()
    assert lost() == {UUID(id_)}


def test_the_tasks_of_others_are_not_purged_with_a_queue_of_the_same_name(shop: Application) -> None:
    report(SHOP, sent("a"))
    own_task()
    record()
    assert queues.count_waiting("default") == 1
    assert queues.purge("default", by="ann").revoked == 1
    assert task_of(SHOP, "a").status == "QUEUED"


# --- Finding it ---


@pytest.mark.parametrize("id_", ["6f0d0c0e-8f6b-4e3b-9d55-0c1f6c3f5b12", "nightly/1"])
def test_it_is_found_by_celerys_id(shop: Application, client: Client, id_: str) -> None:
    report(SHOP, sent(id_, parent_id="p"), step(id_, Status.SUCCESS, START + 1, result="42"))
    record()
    assert client.get(f"/task-status/{id_}").json()["result"] == 42
    assert client.get(f"/api/v1/tasks/{id_}").status_code == 200
    assert client.get(f"/tasks/{key_of(id_, SHOP)}/").status_code == 200
    for query in (f"id:{id_}", id_, "parent:p"):
        found = [item.task.celery_id for item in TaskFilter(q=query).page(unmasked=True).tasks]
        assert found == [id_], query
    assert [item.task.id for item in TaskFilter(q=id_).page(unmasked=False).tasks] == [key_of(id_, SHOP)]


def test_no_application_hides_a_task_by_choosing_its_id(shop: Application) -> None:
    attached(BANK)
    id_ = own_task()
    shops_key = key_of("a", SHOP)
    report(SHOP, sent(id_), sent("a"))
    report(BANK, sent(str(shops_key)), sent("a"))
    record()
    assert [task.application.name for task in tasks_meant(id_)] == ["zenith", SHOP]
    assert [task.application.name for task in tasks_meant(str(shops_key))] == [SHOP, BANK]
    assert {task.application.name for task in tasks_meant("a")} == {SHOP, BANK}
    assert list(tasks_meant("nul\x00")) == []


def test_zeniths_own_row_is_there_in_every_test() -> None:
    assert Application.objects.get().pk == NATIVE_ID
    done = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}), Origin(source="api"))
    assert Task.objects.get(id=done.ids[0]).application.is_native
    assert connection.in_atomic_block is False
