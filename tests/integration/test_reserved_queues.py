"""A queue's name is a key in Redis: names of other keys are refused everywhere, and a key of another type breaks nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from infra_app import autoscaler, nodes
from infra_app.autoscaler import AutoscaleLimits
from infra_app.validation import Deployment
from tasks_app import doctor
from tasks_app.control import queues as control
from tasks_app.control import workers
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.publish import publish_due
from tasks_app.dispatch.schedule import Changes, edit
from tasks_app.maintenance import samples
from tasks_app.maintenance.reconciler import LostTaskSearch
from tasks_app.models import QueueSample, Task
from tests import hosts
from tests.broker import messages
from tests.integration.conftest import ApiClient
from zenith_site.common.errors import InvalidInputError
from zenith_worker.wire import broker_queues, heartbeat, held_messages, stream
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
ORIGIN = Origin(source="api")


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def send(queue: str, **more: Any) -> list[Any]:
    return dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, queue=queue, **more), ORIGIN).ids


def refused(act: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        act()
    return str(caught.value)


# --- Reserved names ---


@pytest.mark.parametrize("name", ["unacked", "zenith:login:account:ann"])
def test_whoever_names_a_queue_is_told_that_the_name_is_taken(name: str) -> None:
    heartbeat.write("w@host", slots=1, busy=0, queues=["default"])
    (scheduled,) = dispatch(Dispatch(task="analyze_text", data="x", not_before=timezone.now() + timedelta(hours=1)), ORIGIN).ids
    hosts.host()
    group = nodes.deploy(Deployment(name="reports"), "ada")
    for act in (
        lambda: send(name),
        lambda: edit(scheduled, Changes(queue=name)),
        lambda: nodes.deploy(Deployment(name="mine", queues=(name,)), "ada"),
        lambda: autoscaler.configure(group.id, AutoscaleLimits(max_replicas=2, scale_queue=name)),
        lambda: workers.add_queue("w@host", name),
        lambda: control.pause(name, by="ada"),
        lambda: control.purge(name, by="ada"),
    ):
        assert f"No queue may be called {name!r}" in refused(act)
    assert not Task.objects.filter(queue=name).exists()


def test_a_program_is_told_by_422(api: ApiClient) -> None:
    client = api("read", "dispatch", "operate")
    answers = [
        client.post("/tasks/trigger", json.dumps({"data": "x", "queue": "unacked"}), content_type="application/json"),
        client.post("/api/v1/queues/unacked/pause", data="", content_type="application/json"),
        client.get("/api/v1/queues/unacked/messages"),
    ]
    for answer in answers:
        assert answer.status_code == 422
        assert "belongs to kombu" in answer.json()["errors"][0]["detail"]


# --- A key of another type ---


@pytest.fixture
def broken() -> str:
    """A queue that has a task, and whose key is a text."""
    send("mail")
    stream.client().delete("mail")
    stream.client().set("mail", "x")
    return "mail"


def test_pages_and_the_api_say_that_such_a_queue_is_unreadable(broken: str, person: Client, api: ApiClient) -> None:
    for path in ("/queues/", f"/queues/of/{broken}/", "/", "/metrics"):
        answer = person.get(path)
        assert answer.status_code == 200, path
        assert "queue" not in path or "cannot be read" in answer.content.decode() or "unreadable" in answer.content.decode()
    client = api("read", "operate")
    assert client.get(f"/api/v1/queues/{broken}").json()["unreadable"] is True
    assert client.get(f"/api/v1/queues/{broken}/messages").json()["waiting"] == []
    assert client.post(f"/api/v1/queues/{broken}/purge", data="", content_type="application/json").json()["revoked"] == 1


def test_the_engine_samples_the_others_and_doctor_names_the_queue(broken: str) -> None:
    send("default")
    assert samples.take()
    assert list(QueueSample.objects.values_list("queue", flat=True)) == ["default"]
    assert any(f"Queue {broken!r} cannot be read" in finding.what for finding in doctor.consumers())


def test_the_relay_sends_the_others_and_what_waits_for_the_queue_once_it_can_be_read(broken: str) -> None:
    send(broken), send("default")
    publish_due()
    assert len(messages("default")) == 1
    assert Task.objects.filter(queue=broken, status=Status.PENDING).count() == 1
    stream.client().delete(broken)
    publish_due()
    assert len(messages(broken)) == 1


def test_the_reconciler_does_not_take_tasks_of_the_queue_for_lost(broken: str) -> None:
    stream.ensure_group()
    assert LostTaskSearch().run_once() == []
    assert read_all_of(broken) == (None, [], 0)


def read_all_of(queue: str) -> tuple[Any, list[str], int]:
    return broker_queues.depth(queue), list(broker_queues.waiting_ids(queue)), broker_queues.sweep(queue)


def test_a_list_in_the_place_of_unacked_breaks_no_page(person: Client) -> None:
    stream.client().lpush("unacked", "{}")
    for path in ("/", "/queues/", "/queues/of/default/", "/metrics"):
        assert person.get(path).status_code == 200, path


def test_a_message_whose_queue_is_no_list_stays_with_whoever_holds_it(broken: str) -> None:
    envelope = {"headers": {"id": "x"}, "properties": {"delivery_info": {}}}
    client = stream.client()
    client.hset("unacked", "tag", json.dumps([envelope, "", broken]))
    client.hset("zenith:taken", "tag", "owner")
    assert held_messages.NATIVE.put_back("tag", "owner") is None
    assert client.hexists("unacked", "tag")
