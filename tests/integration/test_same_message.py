"""What is sent again is the same message, and what a replay sends is followed by what followed the task that died."""

from __future__ import annotations

import datetime
import decimal
import json
import threading
import uuid
from typing import Any

import pytest
from celery import chain, chord, signature
from celery.app.task import Context
from kombu.utils import json as kombu_json

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import Replay, replay
from tasks_app.dispatch.rerun import run_again
from tasks_app.dispatch.resend import resend
from tasks_app.maintenance.reconciler import LostTask
from tasks_app.models import DeadLetter, Task
from tasks_app.models.dead_letter import Selection
from tasks_app.recording.apply import apply
from tasks_app.recording.recorder import Recorder
from tests import canvas_tasks as tasks
from tests.broker import Message, messages
from zenith_site.common.errors import StateConflictError
from zenith_worker.origin import origin
from zenith_worker.wire import stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

AT = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)
#: What a second message of a task has for itself.
ITS_OWN = {"origin", "redelivered", "argsrepr", "kwargsrepr", "eta", "parent_id"}


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def recorded() -> None:
    """Record what was reported so far."""
    stream.ensure_group()
    Recorder(threading.Event()).step(0)


def taken() -> Message:
    """Take the only message from the broker."""
    (message,) = messages()
    stream.client().delete("default", *(f"default\x06\x16{step}" for step in (3, 6, 9)))
    return message


def told(message: Message) -> tuple[Any, ...]:
    headers = {
        name: value for name, value in message.headers.items() if name not in ITS_OWN and value not in (None, [None, None])
    }
    return headers, message.properties.get("priority") or 0, message.args, message.kwargs, message.embed


def sent_again() -> Message:
    recorded()
    task = Task.objects.get()
    assert resend([LostTask(task.id, task.celery_id, task.status, task.position)]) == 1
    return taken()


FOLLOWED: list[Any] = [
    tasks.add.signature((1, 2)),
    tasks.ran.signature((1,), {"named": decimal.Decimal("1.5")}),
    tasks.ran.signature((AT, AT.date(), uuid.UUID(int=5), b"\xff")),
    tasks.add.signature((1,), link=tasks.add.s(5), link_error=tasks.errback.s("log")),
    chain(tasks.add.s(1), tasks.add.s(2), tasks.total.s()),
    tasks.add.signature((1,), expires=AT, priority=6, time_limit=50, soft_time_limit=40, shadow="another name"),
    tasks.add.signature((1,), headers={"mine": "own", "deep": {"a": [1]}}, ignore_result=True),
    tasks.add.signature((1,), stamped_headers=["stamp"], stamp="on it"),
]


@pytest.mark.parametrize("canvas", FOLLOWED, ids=range(len(FOLLOWED)))
def test_a_message_that_got_lost_is_sent_again_as_it_was(canvas: Any) -> None:
    canvas.apply_async()
    before = taken()
    assert told(sent_again()) == told(before)


def test_a_part_of_a_chord_is_sent_again_as_one() -> None:
    chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s()).apply_async()
    first, second = messages()
    stream.client().delete("default")
    recorded()
    rows = [Task.objects.get(id=message.id) for message in (first, second)]
    assert resend([LostTask(task.id, task.celery_id, task.status, task.position) for task in rows]) == 2
    assert {message.id: told(message) for message in messages()} == {message.id: told(message) for message in (first, second)}
    assert first.headers["group"]
    assert first.embed["chord"]


def died(message: Message) -> uuid.UUID:
    """Let a task fail for good."""
    recorded()
    apply([Event(task_id=message.id, status=Status.FAILURE, at=1.8e9, error_type="ValueError", error_message="x")])
    return uuid.UUID(message.id)


@pytest.mark.parametrize("how", ["replay", "run again"])
def test_a_replay_goes_on_with_the_chain_and_calls_what_was_linked(how: str) -> None:
    steps = chain(tasks.add.s(1).on_error(tasks.errback.s("log")), tasks.add.s(2), tasks.total.s())
    steps.apply_async()
    before = taken()
    dead = died(before)
    if how == "replay":
        replay(Replay(selection=Selection(task_ids=[dead])), Origin(source="api"))
    else:
        DeadLetter.objects.all().delete()
        run_again(dead, Origin(source="api"))
    after = taken()
    assert after.id != before.id
    assert after.args == before.args
    then = [signature(step) for step in after.embed["chain"]]
    assert [(step.task, tuple(step.args)) for step in reversed(then)] == [("canvas.add", (2,)), ("canvas.total", ())]
    assert [step.id for step in then] == [None, None], "new tasks follow, not those that were told they will not run"
    assert [step["task"] for step in after.embed["errbacks"]] == ["canvas.errback"]


def test_the_replay_of_a_chords_part_is_no_part_of_it() -> None:
    chord([tasks.add.s(1)], tasks.total.s()).apply_async()
    dead = died(taken())
    replay(Replay(selection=Selection(task_ids=[dead])), Origin(source="api"))
    after = taken()
    assert not after.embed.get("chord")
    assert not after.headers.get("group")


# --- Arguments that are hidden, and those that nobody can send again ---

SECRET = "hunter2-is-the-password"


def test_arguments_that_their_sender_hides_are_not_shown_and_are_sent_again_as_they_were() -> None:
    tasks.ran.apply_async((SECRET,), {"key": SECRET}, argsrepr="('***',)", kwargsrepr="{'key': '***'}")
    before = taken()
    after = sent_again()
    assert (after.args, after.kwargs) == (before.args, before.kwargs) == ([SECRET], {"key": SECRET})
    row = Task.objects.get()
    assert (row.args, row.kwargs) == (["('***',)"], {"…": "{'key': '***'}"})
    dead = died(after)
    replay(Replay(selection=Selection(task_ids=[dead])), Origin(source="api"))
    again = taken()
    assert (again.args, again.kwargs) == (before.args, before.kwargs)
    assert SECRET not in str(Task.objects.values("args", "kwargs"))


@pytest.mark.parametrize(
    "args",
    [((1, 2),), ([{"deep": (1, [2, {"x": None}])}],), ("a" * 3000,), ("it's", 'a "quote"'), (AT,), ({1: 2},), (True, None, 1.5)],
)
def test_arguments_that_nobody_hides_are_shown_as_they_are(args: tuple[Any, ...]) -> None:
    tasks.ran.apply_async(args)
    recorded()
    row = Task.objects.get()
    assert not isinstance(row.args[0], str) or row.args[0] == args[0]
    message = taken()
    # As its worker would report it, who has seen the message only.
    decoded = kombu_json.loads(json.dumps(message.args))
    seen = origin(Context({**message.headers, "args": decoded, "kwargs": message.kwargs}))
    assert seen["args"] == decoded


def test_what_is_not_json_is_kept_by_its_looks_and_not_sent_again() -> None:
    sent = Event(task_id=str(uuid.uuid4()), status=Status.QUEUED, at=1.8e9, name="canvas.ran", queue="default", args=[object()])
    stream.append([sent])
    recorded()
    row = Task.objects.get()
    assert row.args[0].startswith("<object object")
    assert resend([LostTask(row.id, row.celery_id, row.status, row.position)]) == 0
    recorded()
    row.refresh_from_db()
    assert (row.status, row.error_type) == ("FAILURE", "MessageLostError")
    assert replay(Replay(selection=Selection(task_ids=[row.id])), Origin(source="api")).passed_over == 1
    with pytest.raises(StateConflictError, match="not JSON"):
        run_again(row.id, Origin(source="api"))
    assert messages() == []
