"""Tasks that Zenith dispatches to attached applications: their workers are asked to send them, once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.dispatch import hand_over as handing
from tasks_app.dispatch import relay as relaying
from tasks_app.dispatch.create import Dispatch, Origin, dispatch, dispatch_many
from tasks_app.dispatch.hand_over import REST, HandOver
from tasks_app.dispatch.publish import publish_due
from tasks_app.dispatch.rerun import run_again
from tasks_app.dispatch.schedule import Changes, edit, reschedule
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Application, Batch, DeadLetter, QueuePause, Task, TaskEvent, TaskMessage
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.places import Place
from tasks_app.queries.counters import counts
from tasks_app.queries.detail import detail
from tasks_app.search.planner import waiting_before
from tests.attached_worker import asked, attach, beat, record, report, send, task_of
from tests.integration.conftest import ApiClient
from tests.waiting import eventually
from zenith_site.common import faults
from zenith_site.common.errors import BrokerUnavailableError, InvalidInputError
from zenith_worker.wire import commands, heartbeat, keys, stream
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

SHOP, BANK = "shop", "bank"
API = Origin(source="api", sent_by="ann")


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()
    stream.ensure_group()


@pytest.fixture
def shop() -> Application:
    return attach(SHOP)


def charge(count: int = 1, application: str = SHOP, **more: Any) -> list[Task]:
    """Some tasks of an attached application that Zenith dispatched, in the order of their creation."""
    request = {"task": "shop.charge", "data": 7, "count": count, "application": application, **more}
    return list(Task.objects.filter(id__in=dispatch(Dispatch(**request), API).ids).order_by("text_id"))


def why(task: Task) -> str:
    found = detail(str(task.id))
    assert found
    return found.why


def steps(task: Task) -> list[str]:
    return list(TaskEvent.objects.filter(task=task).order_by("position").values_list("status", flat=True))


def relay() -> int:
    return HandOver().run_once()


# --- From the request to the outcome ---


def test_a_worker_is_asked_at_once_and_reports_what_came_of_it(shop: Application) -> None:
    beat(SHOP)
    (task,) = charge()
    assert (task.application, task.status, task.source, task.args) == (shop, "PENDING", "api", [7])
    assert (task.queue, task.max_retries, task.id) == ("payments", 5, key_of(task.celery_id, SHOP))
    assert task.handed_at is not None
    assert task.celery_id == str(UUID(task.celery_id)) != str(task.id)
    (command,) = commands.read(SHOP, count=10, block=0.01)
    assert (command.kind, command.body) == (
        "send", {"id": task.celery_id, "task": "shop.charge", "args": [7], "kwargs": {}, "options": {}},
    )  # fmt: skip
    commands.confirm(SHOP, [command], [])
    report(SHOP, task.celery_id, Status.QUEUED, name="shop.charge", queue="payments", args=[7], kwargs={})
    record()
    task.refresh_from_db()
    assert (task.status, task.queued_at is not None, task.source) == ("QUEUED", True, "api")
    report(SHOP, task.celery_id, Status.STARTED, worker="celery@shop")
    report(SHOP, task.celery_id, Status.SUCCESS, worker="celery@shop", result="[5]", runtime=0.1)
    record()
    task.refresh_from_db()
    assert (task.status, task.worker, steps(task)) == ("SUCCESS", "celery@shop", ["PENDING", "QUEUED", "STARTED", "SUCCESS"])
    assert TaskResult.objects.get().result == "[5]"
    assert Batch.objects.get().headers == {}


def test_the_command_has_what_was_asked_for_and_nothing_else(shop: Application) -> None:
    beat(SHOP)
    expires_at = timezone.now() + timedelta(hours=1)
    charge(queue="celery", priority=3, time_limit=30, soft_time_limit=20, expires_at=expires_at, kwargs={"who": "ann"})
    charge(queue="celery", data=[1, 2], count=None)
    first, *others = asked(SHOP)
    assert first.body["options"] == {
        "queue": "celery", "priority": 3, "expires": expires_at.isoformat(), "time_limit": 30, "soft_time_limit": 20,
    }  # fmt: skip
    assert (first.body["args"], first.body["kwargs"]) == ([7], {"who": "ann"})
    assert [command.body["args"] for command in others] == [[1], [2]], "not in the order of their creation"


def test_a_queue_that_is_paused_or_reserved_at_zenith_is_any_queue_of_the_application(shop: Application) -> None:
    beat(SHOP)
    QueuePause.objects.create(queue="payments", paused_at=timezone.now())
    charge(queue="zenith:events")
    charge()
    assert [command.body["options"] for command in asked(SHOP)] == [{"queue": "zenith:events"}, {}]
    with pytest.raises(InvalidDispatchError, match="printable"):
        charge(queue="ä")


def test_a_task_that_its_application_cannot_send_fails(shop: Application) -> None:
    beat(SHOP)
    (task,) = charge()
    report(
        SHOP, task.celery_id, Status.FAILURE, error_type="EncodeError", error_message="no", result='{"exc_type": "EncodeError"}'
    )
    record()
    task.refresh_from_db()
    assert (task.status, task.error_type, task.name, task.queue) == ("FAILURE", "EncodeError", "shop.charge", "payments")
    assert steps(task) == ["PENDING", "FAILURE"]
    assert relay() == 0


_STEPS: dict[Status, dict[str, Any]] = {
    Status.QUEUED: {"at": 1_800_000_001.0, "name": "shop.tidy", "queue": "tidying", "args": [], "kwargs": {}},
    Status.STARTED: {"at": 1_800_000_002.0, "name": "shop.tidy", "queue": "tidying", "worker": "celery@shop"},
    Status.SUCCESS: {"at": 1_800_000_003.0, "worker": "celery@shop", "result": "1"},
}


@pytest.mark.parametrize("order", list(itertools.permutations(_STEPS)))
def test_the_queue_that_the_routes_chose_is_recorded_in_whatever_order_reports_arrive(
    shop: Application, order: Sequence[Status]
) -> None:
    (task,) = charge(task="shop.tidy", data=None)
    assert task.queue == ""
    for status in order:
        report(SHOP, task.celery_id, status, **_STEPS[status])
        record()
    task.refresh_from_db()
    assert (task.status, task.queue, task.source, task.worker) == ("SUCCESS", "tidying", "api", "celery@shop")
    assert steps(task) == ["PENDING", "QUEUED", "STARTED", "SUCCESS"]
    report(SHOP, task.celery_id, Status.QUEUED, **{**_STEPS[Status.QUEUED], "queue": "other"})
    record()
    task.refresh_from_db()
    assert task.queue == "tidying"


# --- Waiting for a worker ---


@pytest.mark.parametrize("catalogue", [None, ""], ids=["no worker", "a worker that takes no commands"])
def test_it_waits_until_a_worker_takes_commands(shop: Application, catalogue: str | None) -> None:
    if catalogue is not None:
        beat(SHOP, catalogue)
    (task,) = charge()
    assert (relay(), publish_due(), commands.waiting(SHOP)) == (0, 0, 0)
    assert (task.status, task.handed_at) == ("PENDING", None)
    assert why(task) == "No worker of shop that takes commands is online; it is sent once one is."
    beat(SHOP)
    assert "about to be asked" in why(task)
    assert (relay(), relay()) == (1, 0)
    assert why(task).startswith("The workers of shop were asked ")
    assert why(task).endswith(" ago to send it; none has confirmed yet.")
    assert send(SHOP) == [task.celery_id]
    record()
    assert "payments of shop" in why(task) or "consumes the queue payments" in why(task)


def test_two_relays_and_a_crash_hand_a_task_over_once(shop: Application) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks_app.dispatch.create.hand_over_batch", lambda *_: 0)
        tasks = charge(count=60)
    beat(SHOP)
    together(relay, relay)
    assert sorted(command.body["id"] for command in asked(SHOP)) == [task.celery_id for task in tasks]
    # As if it had died before its commit.
    Task.objects.update(handed_at=None)
    assert (relay(), commands.waiting(SHOP)) == (60, 60)
    assert asked(SHOP) == []


def test_a_command_that_redis_lost_is_given_again(shop: Application) -> None:
    beat(SHOP)
    (task,) = charge()
    stream.client().delete(keys.application_keys(SHOP).commands)
    assert relay() == 0, "it was handed over just now"
    Task.objects.update(handed_at=timezone.now() - timedelta(seconds=handing.CONFIRMED_WITHIN + 1))
    assert (relay(), [command.body["id"] for command in asked(SHOP)]) == (1, [task.celery_id])
    assert relay() == 0


def test_no_more_is_handed_over_than_workers_can_take(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing, "CHUNK", 4)
    monkeypatch.setattr(commands, "WAITING_AT_MOST", 10)
    beat(SHOP)
    tasks = charge(count=15)
    assert commands.waiting(SHOP) == 8
    assert Task.objects.filter(handed_at=None).count() == 7
    assert relay() == 0
    sent = send(SHOP)
    while relay():
        sent += send(SHOP)
    assert sorted(sent) == [task.celery_id for task in tasks]


def test_large_arguments_are_handed_over_in_several_commands(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing, "PORTION", 1000)
    beat(SHOP)
    really, portions = commands.hand_over, []

    def counted(name: str, bodies: Sequence[Any]) -> int:
        portions.append(len(bodies))
        return really(name, bodies)

    monkeypatch.setattr(commands, "hand_over", counted)
    charge(data=["x" * 400] * 5, count=None)
    assert (portions, commands.waiting(SHOP)) == ([2, 2, 1], 5)


def test_one_broken_application_stops_no_other(shop: Application) -> None:
    attach(BANK)
    names = (SHOP, BANK, "zoo")
    attach("zoo")
    tasks = {name: charge(application=name)[0] for name in names}
    for name in names:
        beat(name)
    stream.client().set(keys.application_keys(BANK).commands, "x")
    clock = Clock()
    one = HandOver(clock)
    assert one.run_once() == 2
    assert [fault.item for fault in faults.recent()] == ["the application bank"]
    stream.client().delete(keys.application_keys(BANK).commands)
    assert one.run_once() == 0, "it is left alone for a while"
    clock.now += REST
    assert one.run_once() == 1
    assert {name: send(name) for name in names} == {name: [task.celery_id] for name, task in tasks.items()}
    # Nor does it make a dispatch fail.
    stream.client().set(keys.application_keys(BANK).commands, "x")
    (task,) = charge(application=BANK)
    assert task.handed_at is None


def test_no_dispatch_fails_because_redis_is_away(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    beat(SHOP)

    def unreachable(_: str) -> int:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(commands, "waiting", unreachable)
    (task,) = charge()
    with pytest.raises(redis.ConnectionError):
        relay()
    monkeypatch.undo()
    assert (task.handed_at, relay()) == (None, 1)


def test_the_relay_hands_over_also_while_zeniths_own_broker_is_away(shop: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = charge()
    beat(SHOP)

    def unreachable() -> int:
        raise BrokerUnavailableError("away")

    monkeypatch.setattr("tasks_app.dispatch.relay.publish_due", unreachable)
    stop = threading.Event()

    def run() -> None:
        relaying.run(stop)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        eventually(lambda: commands.waiting(SHOP) == 1)
    finally:
        stop.set()
        thread.join()
    assert send(SHOP) == [task.celery_id]


def test_looking_for_what_is_to_be_handed_over_reads_one_index(shop: Application) -> None:
    charge(count=300)
    charge(count=300, not_before=timezone.now() + timedelta(hours=1))
    # Zenith's own, which wait as well.
    Task.objects.filter(id__in=dispatch(Dispatch(count=300), API).ids).update(status=Status.PENDING)
    beat(SHOP)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
    with CaptureQueriesContext(connection) as queries:
        assert relay() == 300
    selects = [query["sql"] for query in queries if "tasks_app_task" in query["sql"] and query["sql"].startswith("SELECT")]
    assert len(selects) == 3  # which applications, what is PENDING, what is due
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        for sql in selects:
            cursor.execute(f"EXPLAIN {sql}")
            assert "task_to_hand_over" in "\n".join(row[0] for row in cursor.fetchall()), sql
        cursor.execute("RESET enable_seqscan")


# --- Scheduled ---


def test_a_scheduled_task_can_be_changed_until_it_is_handed_over(shop: Application) -> None:
    beat(SHOP)
    later = timezone.now() + timedelta(hours=1)
    (task,) = charge(not_before=later)
    assert (task.status, relay()) == ("SCHEDULED", 0)
    with pytest.raises(InvalidInputError, match="takes"):
        edit(task.id, Changes(args=[1, 2, 3]))
    with pytest.raises(InvalidInputError, match="printable"):
        edit(task.id, Changes(queue="ä"))
    assert edit(task.id, Changes(args=[8], priority=2, queue="zenith:events"), by="ann")
    assert reschedule(task.id, timezone.now(), by="ann")
    assert (relay(), relay()) == (1, 0)
    (command,) = asked(SHOP)
    assert (command.body["args"], command.body["options"]) == ([8], {"queue": "zenith:events", "priority": 2})
    task.refresh_from_db()
    assert (task.status, task.handed_at is not None) == ("PENDING", True)
    assert steps(task)[-2:] == ["SCHEDULED", "PENDING"]
    assert edit(task.id, Changes(priority=1)) is None


def test_a_due_task_that_a_relay_handed_over_before_it_died_is_not_changed_any_more(
    shop: Application, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(SHOP)
    handed, due = charge(count=2)
    stream.client().zrem(keys.application_keys(SHOP).handed, due.celery_id)
    Task.objects.update(status="SCHEDULED", handed_at=None, not_before=timezone.now() - timedelta(seconds=1))
    assert edit(handed.id, Changes(args=[8]), by="ann") is None
    assert edit(due.id, Changes(args=[8]), by="ann")
    assert list(Task.objects.order_by("text_id").values_list("args", flat=True)) == [[7], [8]]

    def unreachable(*_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(commands, "handed_over", unreachable)
    path, body = f"/api/v1/tasks/{due.celery_id}", {"priority": 1}
    assert api("operate", "read").patch(path, body, content_type="application/json").status_code == 503
    Task.objects.update(not_before=timezone.now() + timedelta(hours=1))
    assert edit(handed.id, Changes(priority=1)), "Redis need not be asked before a task is due"


def test_an_empty_queue_leaves_a_scheduled_task_to_its_routes(shop: Application) -> None:
    (task,) = charge(not_before=timezone.now() + timedelta(hours=1), queue="celery")
    assert edit(task.id, Changes(queue=""))
    assert reschedule(task.id, timezone.now())
    assert why(task) == "No worker of shop that takes commands is online; it is sent once one is."
    beat(SHOP)
    relay()
    (command,) = asked(SHOP)
    assert command.body["options"] == {}


# --- Refused ---


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"application": "unknown"}, "/application"),
        ({"application": "NUL\0"}, "/application"),
        ({"task": "analyze_text"}, "/task"),
        ({"max_retries": 3}, "/max_retries"),
        ({"kwargs": {"none": 1}}, "/kwargs/none"),
        ({"data": None}, "/data"),
    ],
)
def test_what_cannot_be_dispatched_is_named(shop: Application, values: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidDispatchError) as refused:
        charge(**values)
    assert [problem.pointer for problem in refused.value.problems] == [pointer]
    assert not Task.objects.exists()


RETRIES: dict[str, Any] = {"guards": ("claims", "retries")}


@pytest.mark.parametrize(
    ("beats", "reason"),
    [
        ({}, "no worker of shop is online"),
        ({"a": {}}, "shop decides itself how often its tasks are retried"),
        ({"a": RETRIES, "b": {}}, "only some workers of shop have the guard `retries`"),
    ],
)
def test_retries_are_refused_where_not_every_worker_counts_them(
    shop: Application, beats: dict[str, dict[str, Any]], reason: str
) -> None:
    for name, told in beats.items():
        heartbeat.write(name, slots=1, busy=0, queues=[], application=SHOP, about=heartbeat.About(catalogue="d", **told))
    with pytest.raises(InvalidDispatchError, match=reason):
        charge(max_retries=1)


def test_retries_are_passed_on_if_every_worker_counts_them(
    shop: Application, client: Client, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(admin)
    about = heartbeat.About(catalogue="d", **RETRIES)
    heartbeat.write("celery@shop", slots=1, busy=0, queues=[], application=SHOP, about=about)
    with pytest.raises(InvalidDispatchError, match="between 0 and"):
        charge(max_retries=101)
    assert b'name="max_retries"' in client.get("/dispatch/?application=shop&task=shop.charge").content
    charge(max_retries=0, queue="celery")
    charge(max_retries=2)
    charge()
    first, second, third = asked(SHOP)
    assert first.body["options"] == {"queue": "celery", "headers": {"zenith_max_retries": 0}}
    assert (second.body["options"], third.body["options"]) == ({"headers": {"zenith_max_retries": 2}}, {})
    task = task_of(SHOP, second.body["id"])
    assert task.max_retries == 2
    report(SHOP, task.celery_id, Status.SUCCESS, result="1")
    record()
    assert run_again(task.id, API)
    assert asked(SHOP)[0].body["options"] == {"headers": {"zenith_max_retries": 2}}

    def unreachable(_: str) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr("tasks_app.dispatch.retries.heartbeat.read_all", unreachable)
    with pytest.raises(InvalidDispatchError, match="Redis does not answer"):
        charge(max_retries=1)


def test_the_default_task_and_its_samples_are_zeniths_own(shop: Application) -> None:
    with pytest.raises(InvalidDispatchError, match="shop has no task 'analyze_text'"):
        dispatch(Dispatch(application=SHOP), API)
    assert len(dispatch(Dispatch(), API).ids) == 10


# --- Several applications, and programs ---


def test_one_request_may_name_several_applications(shop: Application) -> None:
    bank = attach(BANK)
    beat(BANK)
    requests = [Dispatch(task="shop.charge", data=1, application=name) for name in (SHOP, BANK)]
    done = dispatch_many([*requests, Dispatch(data="x")], API)
    owners = [Task.objects.get(id=batch.ids[0]).application_id for batch in done]
    assert owners == [shop.pk, bank.pk, NATIVE_ID]
    assert (commands.waiting(SHOP), commands.waiting(BANK)) == (0, 1)
    assert Task.objects.get(id=done[2].ids[0]).status == "QUEUED"
    with pytest.raises(InvalidDispatchError) as refused:
        dispatch_many([*requests, Dispatch(application="zoo")], API)
    assert [problem.pointer for problem in refused.value.problems] == ["/dispatches/2/application"]
    assert Task.objects.count() == 3


def test_the_api_and_the_command_dispatch_to_an_application(shop: Application, api: ApiClient) -> None:
    beat(SHOP)
    client = api("read", "dispatch")
    body = {"task": "shop.charge", "data": 1, "application": SHOP}
    answers = [
        client.post("/tasks/trigger", body, content_type="application/json", headers={"Idempotency-Key": "one"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    (id_,) = answers[0].json()["ids"]
    shown = client.get(f"/api/v1/tasks/{id_}").json()
    assert (shown["application"], shown["task_id"], id_) == (SHOP, id_, Task.objects.get().celery_id), "as Celery knows it"
    assert client.get(f"/task-status/{id_}").status_code == 200
    answer = client.post("/api/v1/tasks", {"dispatches": [body, {"data": "x"}]}, content_type="application/json")
    assert (answer.status_code, answer.json()["triggered"]) == (201, 2)
    call_command("dispatch", "shop.charge", "--data", "1", "--application", SHOP)
    assert commands.waiting(SHOP) == 3
    refused = client.post("/tasks/trigger", {**body, "max_retries": 1}, content_type="application/json")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/max_retries")
    assert "shop decides itself how often its tasks are retried" in refused.json()["errors"][0]["detail"]


# --- Again ---


def ended(celery_id: str, status: Status = Status.SUCCESS, application: str = SHOP, **origin: Any) -> Task:
    """A task that the application itself sent, and that has ended."""
    values = {"name": "shop.charge", "queue": "routing.key", "args": [7], "kwargs": {"who": "ann"}, **origin}
    report(application, celery_id, Status.QUEUED, **values)
    report(application, celery_id, status, error_type="E" if status == Status.FAILURE else "", result="1")
    record()
    return task_of(application, celery_id)


def test_a_task_runs_again_in_its_application_with_all_that_its_message_carried(shop: Application) -> None:
    beat(SHOP)
    link = {"task": "shop.tidy", "args": [], "kwargs": {}, "options": {"task_id": "x"}}
    extras = {
        "headers": {"tenant": 4, "ignore_result": True, "shadow": "s", "timelimit": [None, 20], "root_id": "r", "group": "g"},
        "embed": {"callbacks": [link], "errbacks": [link], "chain": [link], "chord": link},
        "args": [9], "kwargs": {"who": "hidden"},
    }  # fmt: skip
    old = ended("nightly", extras=extras)
    new_id = run_again(old.id, API)
    new = Task.objects.get(id=new_id)
    assert (new.application, new.replay_of_id, new.args, new.kwargs) == (shop, old.id, [7], {"who": "ann"})
    assert new.id == key_of(new.celery_id, SHOP)
    (command,) = asked(SHOP)
    thawed = {**link, "options": {}}
    assert command.body == {
        "id": new.celery_id, "task": "shop.charge", "args": [9], "kwargs": {"who": "hidden"},
        "options": {
            "headers": {"tenant": 4}, "ignore_result": True, "shadow": "s", "soft_time_limit": 20,
            "link": [thawed], "link_error": [thawed], "chain": [thawed],
        },
    }  # fmt: skip


def test_dates_and_decimals_are_what_they_were(shop: Application) -> None:
    beat(SHOP)
    at = datetime(2030, 1, 31, tzinfo=UTC)
    old = ended("a", args=[at, Decimal("1.50")], kwargs={"who": {"__type__": "decimal", "__value__": "none"}})
    assert run_again(old.id, API)
    (command,) = asked(SHOP)
    assert command.body["kwargs"] == {"who": {"__type__": "decimal", "__value__": "none"}}
    old = ended("b", args=[at, Decimal("1.50")])
    assert run_again(old.id, API)
    (command,) = asked(SHOP)
    assert command.body["args"] == [at, Decimal("1.50")]


@pytest.mark.parametrize(
    "extras",
    [
        {"headers": 4, "embed": "x", "args": 3, "queue": 4},
        {"headers": {"timelimit": "x", "shadow": 4, "ignore_result": "no"}, "queue": "ä"},
        {},
    ],
)
def test_odd_extras_that_an_application_reported_are_left_out(shop: Application, extras: dict[str, Any]) -> None:
    beat(SHOP)
    old = ended("a", extras=extras)
    assert run_again(old.id, API)
    (command,) = asked(SHOP)
    assert (command.body["args"], command.body["options"]) == ([7], {})


def test_a_queue_that_was_asked_for_is_asked_for_again(shop: Application) -> None:
    beat(SHOP)
    (first,) = charge(queue="celery")
    send(SHOP, "celery")
    report(SHOP, first.celery_id, Status.SUCCESS, result="1")
    record()
    assert run_again(first.id, API)
    (command,) = asked(SHOP)
    assert command.body["options"] == {"queue": "celery"}
    assert run_again(first.id, API, forced=True)
    assert TaskMessage.objects.count() == 3


def test_dead_letters_of_several_applications_are_replayed_each_in_its_own(shop: Application, api: ApiClient) -> None:
    attach(BANK)
    dead = [ended(f"{name}-{number}", Status.FAILURE, name) for name in (SHOP, BANK) for number in range(2)]
    for task in dead:
        DeadLetter.objects.get_or_create(
            task=task, defaults={"fingerprint": "f", "task_name": task.name, "error_type": "E", "created_at": timezone.now()}
        )
    answer = api("operate").post(
        "/api/v1/dead-letters/replay",
        {"all": True, "task": "shop.charge", "kwargs": {"amount": 3}},
        content_type="application/json",
    )
    assert answer.status_code in (200, 201, 202), answer.content
    new = Task.objects.filter(replay_of__isnull=False)
    assert {(task.application_id, task.replay_of.application_id) for task in new if task.replay_of} == {
        (application.pk, application.pk) for application in Application.objects.exclude(id=NATIVE_ID)
    }
    assert [task.args for task in new] == [[3]] * 4
    assert Batch.objects.count() == 2, "a batch mixes applications"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def together(*actions: Callable[[], Any]) -> None:
    """Run actions at the same time, each with a connection of its own."""
    barrier = threading.Barrier(len(actions))
    errors: list[BaseException] = []

    def run(action: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            action()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_what_waits_in_another_applications_queue_counts_in_none_of_zeniths_own(shop: Application, api: ApiClient) -> None:
    for _ in range(3):
        dispatch(Dispatch(task="shop.charge", data=1, application=SHOP, queue="default"), API)
    own = Task.objects.get(id=dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0}, queue="default"), API).ids[0])
    Task.objects.filter(application=shop).update(status="QUEUED")
    assert waiting_before(Place(own.created_at, own.id), "default", 10) == {}
    Task.objects.filter(application=shop).update(status="PENDING")
    assert api("read").get("/api/v1/queues/default").json()["held"] == 0


def test_the_overview_knows_what_is_due_next_in_whatever_application(shop: Application) -> None:
    soon, later = timezone.now() + timedelta(hours=1), timezone.now() + timedelta(hours=2)
    dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0}, not_before=later), API)
    assert counts([]).due_at == later
    dispatch(Dispatch(task="shop.charge", data=1, application=SHOP, not_before=soon), API)
    assert counts([]).due_at == soon
