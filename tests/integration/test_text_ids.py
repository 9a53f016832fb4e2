"""Celery takes any text for a task's id: such tasks are recorded, found, shown, cancelled, sent again and removed like others."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from celery.result import AsyncResult
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.rerun import run_again
from tasks_app.dispatch.resend import resend
from tasks_app.maintenance import expired
from tasks_app.maintenance.reconciler import LostTask
from tasks_app.models import Task, TaskEvent
from tasks_app.queries.tasks import TaskFilter
from tasks_app.recording.recorder import Recorder
from tests import canvas_tasks as tasks
from tests.broker import messages
from zenith_site.common.application import celery_app
from zenith_worker.wire import broker_queues, claims, keys, stream
from zenith_worker.wire.claims import Verdict
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

UPPER = "0C5B7B9E-5D2B-4B0C-9D1E-0A1B2C3D4E5F"
IDS = ("order-17", "7", UPPER, "a/b c?d#e", "nightly:2026-11-29", "😀 <b>&amp;", "x" * 300, "-1", "../etc")


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a long enough one"))
    return client


def record(*events: Event) -> None:
    stream.ensure_group()
    stream.append(events)
    Recorder(threading.Event()).step(0)


def sent(id_: str, **options: Any) -> Task:
    tasks.add.apply_async((1, 2), task_id=id_, **options)
    stream.ensure_group()
    Recorder(threading.Event()).step(0)
    return Task.objects.get(id=key_of(id_))


def ended(id_: str, status: Status = Status.SUCCESS, **given: Any) -> Task:
    sent(id_)
    record(Event(task_id=id_, status=status, at=time.time(), started_at=time.time(), worker="w1", **{"result": "3", **given}))
    return Task.objects.get(id=key_of(id_))


@pytest.mark.parametrize("id_", IDS)
def test_it_is_recorded_with_its_steps_its_result_and_its_own_id(id_: str) -> None:
    task = ended(id_)
    assert (task.celery_id, task.name, task.status) == (id_, "canvas.add", Status.SUCCESS)
    assert list(TaskEvent.objects.filter(task=task).values_list("status", flat=True)) == ["QUEUED", "STARTED", "SUCCESS"]
    result = TaskResult.objects.get()
    assert (result.task_id, result.task_args) == (id_ if len(id_) <= 255 else str(task.id), '"[1, 2]"')
    if len(id_) <= 255:
        assert AsyncResult(id_, app=celery_app()).get(timeout=2) == 3


@pytest.mark.parametrize("id_", IDS)
def test_it_is_found_by_its_id_and_shown_with_it(id_: str, client: Client) -> None:
    task = ended(id_)
    escaped = id_.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    page = client.get(f"/tasks/by-id/{quote(id_, safe='')}/", follow=True)
    assert page.redirect_chain == [(f"/tasks/{task.id}/", 302)]
    assert f'class="mono">{escaped}</span>' in page.content.decode()
    quoted = id_.replace('"', '\\"')
    for search in (f'id:"{quoted}"', f'"{quoted}"', f"id:{task.id}"):
        assert [shown.task.id for shown in TaskFilter(q=search).page().tasks] == [task.id], search
    assert client.get("/tasks/all").json()[0]["task_id"] == id_
    assert client.get("/api/v1/events").json()["events"][0]["task_id"] == id_
    assert client.get(f"/api/v1/tasks/{task.id}").json()["task_id"] == id_
    assert client.get(f"/task-status/{quote(id_, safe='')}").json()["task_id"] == id_
    assert client.get(f"/api/v1/tasks/{quote(id_, safe='')}").json()["result"] == 3


def test_a_uuid_that_is_written_otherwise_is_a_task_of_its_own() -> None:
    sent(UPPER)
    sent(UPPER.lower())
    assert {task.celery_id for task in Task.objects.all()} == {UPPER, UPPER.lower()}
    assert {shown.task.celery_id for shown in TaskFilter(q=f"id:{UPPER}").page().tasks} == {UPPER, UPPER.lower()}


def test_it_is_cancelled_where_its_worker_looks() -> None:
    task = sent("order-17")
    assert cancel([task.id], by="ann").revoked == 1
    assert claims.begin("order-17", run=RunNumber(0, 0), token="t").verdict == Verdict.CANCELLED
    assert Task.objects.get().status == Status.REVOKED


def test_the_api_and_the_commands_take_its_id(client: Client) -> None:
    for id_ in ("one", "two", "three"):
        sent(id_)
    assert client.post("/api/v1/tasks/one/cancel", content_type="application/json").json()["revoked"] == 1
    body = {"ids": ["two"]}
    assert client.post("/api/v1/tasks/cancel", body, content_type="application/json").json()["revoked"] == 1
    call_command("cancel", "three", "--yes")
    assert set(Task.objects.values_list("status", flat=True)) == {Status.REVOKED}


def test_what_got_lost_is_sent_again_under_the_same_id() -> None:
    task = sent("order-17", priority=3)
    stream.client().flushdb()
    assert resend([LostTask(task.id, task.celery_id, task.status, task.position)]) == 1
    (message,) = messages()
    assert (message.id, message.headers["root_id"], message.properties["correlation_id"]) == ("order-17",) * 3


@pytest.mark.parametrize("id_", IDS)
def test_its_message_is_known_by_it_while_it_waits_and_while_a_worker_holds_it(id_: str) -> None:
    task = sent(id_)
    assert list(broker_queues.waiting_ids(task.queue)) == [id_]
    assert broker_queues.waiting([task.queue])[task.queue].oldest_ids == (id_,)
    (raw,) = stream.client().lrange(task.queue, 0, -1)
    stream.client().hset(keys.UNACKED, "a tag", json.dumps([json.loads(raw), "", task.queue]))
    assert broker_queues.unacknowledged() == {"a tag": id_}


def test_its_child_knows_it() -> None:
    record(Event(task_id="child", status=Status.QUEUED, at=time.time(), name="canvas.add", queue="q", parent_id="order-17"))
    parent = sent("order-17")
    assert Task.objects.get(parent_id=parent.id).celery_id == "child"
    assert [shown.task.celery_id for shown in TaskFilter(q="parent:order-17").page().tasks] == ["child"]


def test_it_is_run_again_as_a_task_of_our_own() -> None:
    dead = ended("order-17", Status.FAILURE, error_type="ValueError", error_message="no", result='{"exc_type": "ValueError"}')
    new = run_again(dead.id, Origin(source="page"))
    again = Task.objects.get(id=new)
    assert (again.replay_of_id, again.text_id, again.celery_id) == (dead.id, "", str(new))


def test_it_goes_with_its_result() -> None:
    ended("order-17")
    ended("x" * 300)
    Task.objects.update(created_at=timezone.now() - timedelta(days=2), finished_at=timezone.now() - timedelta(days=2))
    assert sum(expired.tasks(timedelta(days=1))) == 2
    assert not TaskResult.objects.exists()
