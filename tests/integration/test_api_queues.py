"""`/api/v1/queues`: depth, age, rates, looking into them, and pause, resume, purge with real workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.publish import publish_due
from tasks_app.maintenance import samples
from tasks_app.maintenance.pauses import copy
from tasks_app.models import LoadSample, QueuePause, QueueSample, Task, TaskEvent
from tests import stack as stacks
from tests.broker import messages
from tests.integration.conftest import ApiClient
from tests.rollups import ended
from tests.stack import Stack
from tests.waiting import eventually
from zenith_worker.wire import broker_queues, heartbeat, pauses, stream
from zenith_worker.wire.messages import keys_of

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/queues"
WORKER = "one@queues"


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(tmp_path_factory.mktemp("queues")):
        stack.engine("engine", "--only", "recorder", "--only", "relay", "--only", "answers")
        stack.worker(WORKER, "-Q", "default,second", concurrency=2)
        yield stack


@pytest.fixture
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    yield from stacks.settling(module_stack)
    QueuePause.objects.all().delete()
    copy()
    eventually(lambda: not beat().withheld)


@pytest.fixture(autouse=True)
def empty(transactional_db: None) -> Iterator[None]:
    """Nothing waits where only a test looks: these queues have no worker."""
    yield
    stream.client().delete(*keys_of("idle"), *keys_of("idle2"), "zenith:paused")


@pytest.fixture
def reader(api: ApiClient) -> Client:
    return api("read")


@pytest.fixture
def writer(api: ApiClient) -> Client:
    return api("operate")


def post(client: Client, path: str, body: Any = None) -> Any:
    data = {"data": "" if body is None else json.dumps(body), "content_type": "application/json"}
    return client.post(f"{PATH}/{path}", **data)


def send(queue: str = "idle", count: int = 1, **more: Any) -> list[str]:
    more = {"task": "drill_sleep", "kwargs": {"seconds": 0.01}, **more}
    return [str(id_) for id_ in dispatch(Dispatch(count=count, queue=queue, **more), Origin(source="api")).ids]


def statuses(ids: list[str]) -> set[str]:
    return set(Task.objects.filter(id__in=ids).values_list("status", flat=True))


def beat() -> heartbeat.WorkerBeat:
    return next(beat for beat in heartbeat.read_all() if beat.name == WORKER)


# --- Reading ---


def test_one_shows_its_depth_over_all_priorities_and_its_oldest(reader: Client) -> None:
    (oldest,) = send()
    send(priority=9)
    send(priority=4, count=2)
    Task.objects.filter(id=oldest).update(queued_at=timezone.now() - timedelta(seconds=90))
    answer = reader.get(f"{PATH}/idle").json()
    assert (answer["name"], answer["depth"], answer["held"], answer["unacknowledged"]) == ("idle", 4, 0, 0)
    assert answer["by_priority"] == [
        {"priority": 0, "depth": 1}, {"priority": 3, "depth": 2}, {"priority": 6, "depth": 0}, {"priority": 9, "depth": 1},
    ]  # fmt: skip
    assert 90 <= answer["oldest_seconds"] < 110
    assert (answer["consumers"], answer["slots"], answer["pause"]) == ([], 0, None)


def test_the_list_knows_queues_that_nobody_consumes(reader: Client) -> None:
    send()
    names = [item["name"] for item in reader.get(PATH).json()]
    assert {"default", "idle"} <= set(names)
    assert names == sorted(names)


def test_an_unknown_queue_is_404(reader: Client, writer: Client) -> None:
    for answer in (
        reader.get(f"{PATH}/nowhere"),
        reader.get(f"{PATH}/%00"),
        post(writer, "nowhere/purge"),
        post(writer, f"{'x' * 256}/pause"),
    ):
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_rates_are_of_whole_minutes(reader: Client) -> None:
    send(count=30)
    now = int(time.time() // 60) * 60
    last = now - 60
    for minutes, depth in ((0, 30), (5, 10)):
        minute = datetime.fromtimestamp(last - 60 * minutes, tz=UTC)
        QueueSample.objects.create(minute=minute, queue="idle", depth=depth, unacknowledged=0)
    ended(last, queue="idle", succeeded=3, failed=1, retried=1)
    ended(now - 240, queue="idle", succeeded=5)
    ended(last - 300, queue="idle", succeeded=1000)
    answer = reader.get(f"{PATH}/idle").json()
    # 10 left and the depth grew by 20.
    assert (answer["rate_out"], answer["rate_in"], answer["seconds_to_drain"]) == (2.0, 6.0, None)
    QueueSample.objects.filter(depth=10).update(depth=40)
    answer = reader.get(f"{PATH}/idle").json()
    assert (answer["rate_out"], answer["rate_in"], answer["seconds_to_drain"]) == (2.0, 0.0, 900.0)
    QueueSample.objects.all().delete()
    answer = reader.get(f"{PATH}/idle").json()
    assert (answer["rate_out"], answer["rate_in"], answer["seconds_to_drain"]) == (2.0, None, None)


def test_the_number_of_queries_does_not_depend_on_the_number_of_queues(reader: Client) -> None:
    def own() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert reader.get(PATH).status_code == 200
        return len([query for query in queries if "tasks_app_" in query["sql"]])

    send()
    few = own()
    send("idle2", count=3)
    assert own() == few <= 9


def test_looking_into_a_queue_takes_nothing(reader: Client) -> None:
    first, second = send()[0], send()[0]
    (urgent,) = send(priority=0)
    (late,) = send(priority=9)
    answer = reader.get(f"{PATH}/idle/messages").json()
    waiting = [(item["task_id"], item["priority"], item["position"]) for item in answer["waiting"]]
    assert waiting == [(first, 0, 1), (second, 0, 2), (urgent, 0, 3), (late, 9, 1)]
    assert answer["waiting"][0] == {
        "task_id": first, "task_type": "drill_sleep", "priority": 0, "redelivered": False, "position": 1, "worker": None,
        "args": [], "kwargs": {"seconds": 0.01}, "eta": None, "expires_at": None, "content_type": "application/json",
    }  # fmt: skip
    assert answer["unacknowledged"] == []
    assert len(reader.get(f"{PATH}/idle/messages?limit=1").json()["waiting"]) == 2
    assert len(messages("idle")) == 4
    assert reader.get(f"{PATH}/idle/messages?limit=101").status_code == 422


def test_looking_into_a_queue_shows_what_workers_hold(stack: Stack, reader: Client) -> None:
    ids = send("default", kwargs={"seconds": 1.5})
    eventually(lambda: statuses(ids) == {"STARTED"})
    (held,) = reader.get(f"{PATH}/default/messages").json()["unacknowledged"]
    assert (held["task_id"], held["worker"], held["position"]) == (ids[0], WORKER, None)
    assert reader.get(f"{PATH}/second/messages").json()["unacknowledged"] == []
    answer = reader.get(f"{PATH}/default").json()
    assert (answer["unacknowledged"], answer["consumers"], answer["slots"]) == (1, [WORKER], 2)


# --- Samples ---


def test_a_look_is_kept_once_a_while_and_has_each_queue(reader: Client) -> None:
    send(count=2)
    assert samples.take() is True
    assert samples.take() is False
    LoadSample.objects.update(sampled_at=timezone.now() - timedelta(seconds=10))
    assert samples.take() is True
    assert sum(LoadSample.objects.values_list("looks", flat=True)) == 2
    points = reader.get(f"{PATH}/idle/history?window=15m").json()["points"]
    assert [point["depth"] for point in points if point["depth"] is not None][-1] == 2
    assert reader.get(f"{PATH}/idle/history?window=2h").status_code == 422


def test_a_look_repairs_the_workers_copy_of_the_pauses() -> None:
    QueuePause.objects.create(queue="idle", paused_at=timezone.now(), paused_by="x")
    samples.take()
    assert pauses.read() == {"idle"}


# --- Pause and resume ---


def test_nothing_is_sent_to_a_paused_queue_until_it_is_resumed(writer: Client) -> None:
    answer = post(writer, "idle/pause", {"note": "the supplier is away"}).json()
    assert (answer["pause"]["note"], answer["pause"]["paused_by"].startswith("token ")) == ("the supplier is away", True)
    ids = send(count=3)
    due = send(not_before=timezone.now() + timedelta(hours=1))
    Task.objects.filter(id__in=due).update(not_before=timezone.now())
    other = send("idle2")
    publish_due()
    assert (statuses(ids), statuses(due), statuses(other)) == ({"PENDING"}, {"SCHEDULED"}, {"QUEUED"})
    assert not messages("idle")
    assert post(writer, "idle/resume").json()["pause"] is None
    assert publish_due() == 4
    assert statuses(ids + due) == {"QUEUED"}
    assert len(messages("idle")) == 4


def test_what_a_pause_holds_back_is_counted(api: ApiClient, writer: Client) -> None:
    post(writer, "idle/pause")
    send(count=3)
    answer = api("read").get(f"{PATH}/idle").json()
    assert (answer["held"], answer["depth"], answer["seconds_to_drain"]) == (3, 0, 0.0)


def test_a_pause_is_made_once_and_ended_once(writer: Client) -> None:
    assert post(writer, "idle/pause", {"note": "first"}).status_code == 200
    assert post(writer, "idle/pause", {"note": "second"}).status_code == 409
    assert QueuePause.objects.get().note == "first"
    assert post(writer, "idle/resume").status_code == 200
    assert post(writer, "idle/resume").status_code == 409
    assert post(writer, "idle/pause", {"note": "x" * 1001}).json()["errors"][0]["pointer"] == "/note"
    assert not QueuePause.objects.exists()


def test_stepping_in_takes_the_permission_to_operate(api: ApiClient, member: Any) -> None:
    client = api("operate", user=member)
    assert {post(client, f"idle/{verb}").status_code for verb in ("pause", "resume", "purge")} == {403}
    assert not QueuePause.objects.exists()


def test_a_relay_passes_over_a_paused_queue_without_reading_its_tasks(writer: Client) -> None:
    post(writer, "idle/pause")
    send(count=500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
    with CaptureQueriesContext(connection) as queries:
        assert publish_due() == 0
    assert len(queries) <= 4
    (looking,) = [query["sql"] for query in queries if "RECURSIVE" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {looking}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "task_pending" in plan


def test_workers_give_up_a_paused_queue_and_take_it_again(stack: Stack, writer: Client) -> None:
    assert post(writer, "default/pause").status_code == 200
    eventually(lambda: (beat().queues, beat().withheld) == (("second",), ("default",)))
    ids, others = send("default", count=2), send("second")
    # Sent by other code, which asks nobody.
    from tasks_app.builtin_tasks import drill_sleep

    foreign = str(drill_sleep.delay(0.01).id)
    eventually(lambda: statuses(others) == {"SUCCESS"})
    assert statuses(ids) == {"PENDING"}
    eventually(lambda: [message.id for message in messages("default")] == [foreign])
    assert post(writer, "default/resume").status_code == 200
    eventually(lambda: statuses([*ids, foreign]) == {"SUCCESS"})
    eventually(lambda: beat().queues == ("default", "second"))


def test_a_worker_that_starts_while_a_queue_is_paused_takes_nothing_from_it(stack: Stack, writer: Client) -> None:
    ids = send("late")
    post(writer, "late/pause")
    process = stack.worker("late@queues", "-Q", "late", concurrency=1)
    late = next(beat for beat in heartbeat.read_all() if beat.name == "late@queues")
    assert (late.queues, late.withheld) == ((), ("late",))
    assert [message.id for message in messages("late")] == ids
    assert statuses(ids) == {"QUEUED"}
    post(writer, "late/resume")
    eventually(lambda: statuses(ids) == {"SUCCESS"})
    process.stop()


def test_a_queue_that_is_cancelled_while_it_is_paused_stays_so(stack: Stack, writer: Client) -> None:
    post(writer, "second/pause")
    eventually(lambda: beat().withheld == ("second",))
    body = {"data": json.dumps({"queue": "second"}), "content_type": "application/json"}
    assert writer.post(f"/api/v1/workers/{WORKER}/cancel-queue", **body).status_code == 200
    post(writer, "second/resume")
    eventually(lambda: not beat().withheld)
    assert beat().queues == ("default",)
    assert writer.post(f"/api/v1/workers/{WORKER}/add-queue", **body).status_code == 200
    eventually(lambda: beat().queues == ("default", "second"))


# --- Purge ---


def test_a_purge_revokes_what_waits_and_removes_its_messages(writer: Client) -> None:
    ids = [*send(count=3), *send(priority=9)]
    post(writer, "idle/pause")
    held = send(count=2)
    scheduled = send(not_before=timezone.now() + timedelta(hours=1))
    elsewhere = send("idle2")
    would = post(writer, "idle/purge", {"dry_run": True}).json()
    assert would == {"dry_run": True, "revoked": 6, "running": 0, "messages_removed": 0, "remaining": 6, "error": ""}
    assert len(messages("idle")) == 4
    done = post(writer, "idle/purge").json()
    assert done == {"dry_run": False, "revoked": 6, "running": 0, "messages_removed": 4, "remaining": 0, "error": ""}
    assert statuses(ids + held) == {"REVOKED"}
    assert (statuses(scheduled), statuses(elsewhere)) == ({"SCHEDULED"}, {"QUEUED"})
    assert not messages("idle")
    events = TaskEvent.objects.filter(task_id__in=ids + held, status="REVOKED")
    assert {event.message.startswith("cancelled by token") for event in events} == {True}
    assert len(events) == 6


def test_a_purge_leaves_messages_that_nobody_accounts_for(writer: Client, reader: Client) -> None:
    send()
    known = messages("idle")[0].id
    raw = stream.client().lindex("idle", 0)
    stranger = "01890000-0000-7000-8000-000000000000"
    stream.client().lpush("idle", raw.replace(known.encode(), stranger.encode()))
    stream.client().lpush("idle", b"not a message")
    assert post(writer, "idle/purge").json()["messages_removed"] == 1
    assert [known.encode() in body for body in stream.client().lrange("idle", 0, -1)] == [False, False]
    waiting = reader.get(f"{PATH}/idle/messages").json()["waiting"]
    assert [item["task_id"] for item in waiting] == [stranger, ""]


def test_sweeping_keeps_the_order_of_what_stays() -> None:
    ids = send(count=7)
    cancel([*Task.objects.filter(id__in=ids[2:4]).values_list("id", flat=True)], by="x")
    assert broker_queues.sweep("idle") == 2
    assert [message.id for message in messages("idle")] == [*ids[:2], *ids[4:]]


def test_a_purge_goes_on_where_the_last_one_ended(writer: Client) -> None:
    from tasks_app.control.queues import purge

    ids = send(count=5)
    first = purge("idle", by="x", limit=3)
    assert (first.revoked, first.removed, first.remaining) == (3, 3, 2)
    assert [message.id for message in messages("idle")] == ids[3:]
    assert purge("idle", by="x").remaining == 0
