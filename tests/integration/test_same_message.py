"""What is sent again is the same message, and what a replay sends is followed by what followed the task that died."""

from __future__ import annotations

import datetime
import decimal
import threading
import uuid
from typing import Any

import pytest
from celery import chain, chord, signature

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import Replay, replay
from tasks_app.dispatch.rerun import run_again
from tasks_app.dispatch.resend import resend
from tasks_app.maintenance.reconciler import Lost
from tasks_app.models import DeadLetter, Task
from tasks_app.models.dead_letter import Selection
from tasks_app.recording.apply import apply
from tasks_app.recording.recorder import Recorder
from tests import canvas_tasks as tasks
from tests.broker import Message, messages
from zenith_worker.wire import stream
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Event

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
    assert resend([Lost(str(task.id), task.status, task.position)]) == 1
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
    assert resend([Lost(str(task.id), task.status, task.position) for task in rows]) == 2
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
        replay(Replay(which=Selection(task_ids=[dead])), Origin(source="api"))
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
    replay(Replay(which=Selection(task_ids=[dead])), Origin(source="api"))
    after = taken()
    assert not after.embed.get("chord")
    assert not after.headers.get("group")
