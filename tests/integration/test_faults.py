"""What nobody foresaw never stops the rest: it is contained, noted, counted and shown, and the loop goes on."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from tasks_app.dispatch import publish
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.message import TaskRow
from tasks_app.dispatch.publish import publish_due
from tasks_app.maintenance.applications import FORGET_EVERY, GoneWorkers
from tasks_app.maintenance.reconciler import HeldMessageRecovery
from tasks_app.models import Application, Task
from tasks_app.recording import apply as applying
from tasks_app.recording.recorder import Recorder
from tests.waiting import eventually
from zenith_site.common import faults
from zenith_site.common.engine import loops
from zenith_site.common.loops import keep_running
from zenith_site.management.commands import run_engine
from zenith_site.notify.models import Notification
from zenith_site.notify.watch import Watch
from zenith_worker.wire import broker_queues, commands, heartbeat, keys, stream
from zenith_worker.wire.events import MAX_DEPTH, OPAQUE, Event, decode, encode, nested_deeper
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)


class UnforeseenError(Exception):
    """What no code of Zenith's knows."""


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a long enough one"))
    return client


@contextmanager
def running(run: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run something in a thread until the block is left, and see it end."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


# --- Loops ------------------------------------------------------------------------------------------------------------


def test_a_loop_that_fails_begins_anew_and_says_so() -> None:
    began: list[int] = []

    def loop(stop: threading.Event) -> None:
        began.append(1)
        if len(began) < 3:
            raise UnforeseenError("of its own")
        stop.wait()

    with running(lambda stop: keep_running(stop, "relay", loop)):
        eventually(lambda: len(began) == 3)
    (fault,) = faults.recent()
    assert (fault.part, fault.item, fault.error) == ("relay", "", "UnforeseenError: of its own")
    assert faults.counts() == {"relay": 2}


def test_a_loop_that_ends_by_itself_begins_anew() -> None:
    began: list[int] = []
    with running(lambda stop: keep_running(stop, "relay", lambda _: began.append(1))):
        eventually(lambda: len(began) >= 2)
    assert faults.counts()["relay"] >= 1


@pytest.mark.parametrize("spared", sorted(loops()))
def test_an_engine_goes_on_with_one_loop_while_all_others_fail(spared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    went_on = threading.Event()

    def fails(_: threading.Event) -> None:
        raise UnforeseenError

    def goes_on(stop: threading.Event) -> None:
        eventually(lambda: faults.counts().keys() == loops().keys() - {spared})
        went_on.set()
        stop.wait()

    monkeypatch.setattr(run_engine, "loops", lambda: {name: goes_on if name == spared else fails for name in loops()})
    ended: list[threading.Event] = []
    monkeypatch.setattr(run_engine, "stop_on_signals", ended.append)
    engine = threading.Thread(target=call_command, args=("run_engine",), kwargs={"stdout": io.StringIO()})
    engine.start()
    try:
        assert went_on.wait(60)
    finally:
        eventually(lambda: ended)
        ended[0].set()
        engine.join(20)
    assert not engine.is_alive()


@pytest.mark.parametrize("loop", ["relay", "reconciler", "replays", "retention", "samples", "placer", "autoscaler", "outbox"])
def test_what_the_step_of_a_loop_meets_ends_the_step_and_not_the_loop(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    steps: list[str] = []

    def meets(*_: object) -> Any:
        steps.append(threading.current_thread().name)
        raise UnforeseenError

    # Each of these asks for the time between two steps, or for rows, by way of the database first of all.
    monkeypatch.setattr("django.db.backends.utils.CursorWrapper.execute", meets)
    thread = threading.Thread(target=keep_running, args=(stop, loop, loops()[loop]), name=loop)
    thread.start()
    try:
        eventually(lambda: steps.count(loop) >= 2)
    finally:
        stop.set()
        thread.join(20)
        monkeypatch.undo()
    assert not thread.is_alive()
    assert faults.counts()[loop] >= 1


def test_faults_are_shown_by_the_doctor_the_metrics_and_a_notification(client: Client) -> None:
    faults.record_fault("relay", UnforeseenError("password=hunter2"), "task 4711")
    told = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=told)
    assert "relay fails at task 4711" in " ".join(told.getvalue().split())
    assert 'zenith_faults_total{part="relay"} 1.0' in client.get("/metrics").content.decode()
    Watch().evaluate()
    notification = Notification.objects.get(kind="fault")
    assert (notification.key, notification.severity) == ("relay", "critical")
    assert "task 4711" in notification.body


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("Command # 1 (GET x) of pipeline caused error: WRONGTYPE Operation against a key", False),
        ("WRONGTYPE Operation against a key script: f00, on @user_script:8.", False),
        # Redis before 7, of which redis-py has removed the ERR in front.
        ("Error running script (call to f_f00): @user_script:8: WRONGTYPE Operation against a key", False),
        ("Error running script (call to f_f00): @user_script: 8: WRONGTYPE Operation against a key", False),
        ("Error running script (call to f_f00): @user_script: 8: -OOM command not allowed when used memory > 'maxmemory'.", True),
        ("NOGROUP No such consumer group", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
    ],
)
def test_a_key_of_the_wrong_type_is_a_fault_whatever_redis_puts_in_front(answer: str, passes: bool) -> None:
    assert faults.is_unreachable(redis.ResponseError(answer)) is passes


def test_an_applications_commands_that_nobody_reads_are_no_fault_and_stop_no_other() -> None:
    Application.objects.create(name="bank", kind="attached")
    Application.objects.create(name="shop", kind="attached")
    stream.client().xadd(keys.application_keys("bank").commands, {"c": "of a stranger"})
    clock = iter([0.0, FORGET_EVERY, FORGET_EVERY])
    with pytest.MonkeyPatch.context() as patch:
        forgotten: list[str] = []
        real = commands.forget_gone_workers
        patch.setattr(commands, "forget_gone_workers", lambda name: (forgotten.append(name), real(name))[1])
        GoneWorkers(lambda: next(clock)).run_once()
    assert (forgotten, faults.recent()) == (["bank", "shop"], [])


# --- Entries of the stream --------------------------------------------------------------------------------------------


def sent(id_: str, **given: Any) -> Event:
    return Event(task_id=id_, status=Status.QUEUED, at=1_700_000_000.0, name="t", queue="default", **given)


def test_an_entry_that_meets_what_nobody_foresaw_is_set_aside_and_its_neighbours_are_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def masked(text: str) -> str:
        if "bad" in text:
            raise UnforeseenError(text)
        return text

    monkeypatch.setattr(applying, "storable_text", masked)
    stream.ensure_group()
    for id_, message in (("a", "good"), ("b", "bad"), ("c", "good")):
        stream.append([Event(task_id=id_, status=Status.FAILURE, at=1_700_000_000.0, error_type="E", error_message=message)])
    Recorder(threading.Event()).step(0)
    assert stream.unreadable_count() == 1
    newest = stream.newest_unreadable()
    assert newest is not None
    assert "UnforeseenError" in newest.reason
    # Also the end of the odd one is known: only its error is not.
    assert sorted(Task.objects.values_list("text_id", "status")) == [("a", "FAILURE"), ("b", "FAILURE"), ("c", "FAILURE")]
    Watch().evaluate()
    assert Notification.objects.filter(kind="set-aside").count() == 1


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [MAX_DEPTH, 500, 900, 3000])
@pytest.mark.parametrize("member", ["args", "kwargs", "extras"])
def test_what_is_nested_too_deeply_is_told_by_its_looks_and_cannot_be_sent_again(member: str, levels: int) -> None:
    deep: Any = nested(levels) if member == "args" else {"x": nested(levels)}
    (told,) = decode(encode([sent("a", **{member: deep})]))
    assert told.extras == OPAQUE
    assert not nested_deeper([told.args, told.kwargs, told.extras], MAX_DEPTH)
    stream.ensure_group()
    stream.append([sent("a", **{member: deep}), sent("b", args=[1])])
    Recorder(threading.Event()).step(0)
    assert set(Task.objects.values_list("text_id", flat=True)) == {"a", "b"}


def test_what_is_not_too_deep_is_told_as_it_is() -> None:
    event = sent("a", args=nested(MAX_DEPTH - 10), kwargs={"x": [{}] * 500})
    assert decode(encode([event])) == [event]


def test_what_an_older_release_wrote_is_kept_as_far_as_it_can_be() -> None:
    row = {"task_id": "a", "status": "QUEUED", "at": 1.0, "name": "t", "queue": "default", "args": nested(900)}
    stream.ensure_group()
    stream.client().xadd(keys.EVENTS, {"e": json.dumps([row])})
    Recorder(threading.Event()).step(0)
    assert "nested too deeply" in json.dumps(Task.objects.get().args)


# --- Heartbeats -------------------------------------------------------------------------------------------------------

GOOD = {"pid": 1, "slots": 2, "busy": 0, "queues": ["default"], "version": "5.7.0", "instance": "i", "held": [], "tags": []}
GARBAGE = [
    b"not json", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 5000, b"{}", json.dumps({**GOOD, "queues": None}).encode(),
    *(
        json.dumps({**GOOD, **odd}).encode()
        for odd in (
            {"slots": "two"}, {"slots": -1}, {"slots": True}, {"slots": 10**400}, {"queues": "default"}, {"queues": [1]},
            {"held": {}}, {"instance": None}, {"started_at": float("nan")},
            {"autoscale": [1]}, {"limited": [["a"]]}, {"limited": [["a", "b"]]}, {"not_yet": 5}, {"clock": "now"},
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_a_heartbeat_that_is_none_is_passed_over_and_named(body: bytes) -> None:
    heartbeat.write("good@host", slots=2, busy=1, queues=["default"])
    stream.client().sadd(keys.WORKERS, "bad@host")
    stream.client().set(keys.WORKER + "bad@host", body, ex=300)
    assert [beat.name for beat in heartbeat.read_all()] == ["good@host"]
    assert [bad.name for bad in heartbeat.unreadable()] == ["bad@host"]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\0b"])
def test_a_worker_whose_name_is_no_text_is_passed_over(name: bytes) -> None:
    stream.client().sadd(keys.WORKERS, name)
    stream.client().set(keys.WORKER.encode() + name, json.dumps(GOOD), ex=300)
    assert heartbeat.read_all() == []
    assert len(heartbeat.unreadable()) == 1


def test_a_heartbeat_that_is_no_text_at_all_is_passed_over() -> None:
    stream.client().sadd(keys.WORKERS, "bad@host")
    stream.client().rpush(keys.WORKER + "bad@host", "x")
    assert heartbeat.read_all() == []
    assert [bad.name for bad in heartbeat.unreadable()] == ["bad@host"]


def test_pages_metrics_health_and_doctor_live_with_it(client: Client) -> None:
    heartbeat.write("good@host", slots=2, busy=1, queues=["default"])
    stream.client().sadd(keys.WORKERS, "bad@host")
    stream.client().set(keys.WORKER + "bad@host", b"[]", ex=300)
    for path in ("/", "/workers/", "/queues/", "/tasks/", "/metrics", "/health", "/ready", "/api/v1/workers"):
        assert client.get(path).status_code == 200, path
    told = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=told)
    assert "bad@host cannot be read" in " ".join(told.getvalue().split())
    Watch().evaluate()
    assert "bad@host" in Notification.objects.get(kind="set-aside").key
    HeldMessageRecovery().run_once()


# --- Messages ---------------------------------------------------------------------------------------------------------


def test_a_task_of_which_no_message_can_be_made_fails_and_the_others_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    real = publish.send_message
    done = dispatch(Dispatch(task="drill_sleep", count=3, data=0.0), Origin(source="api"))
    Task.objects.update(status=Status.PENDING)
    stream.client().flushdb()
    odd = str(done.ids[1])

    def send(producer: Any, row: TaskRow, **options: Any) -> None:
        if row.task_id == odd:
            raise UnforeseenError("no message")
        real(producer, row, **options)

    monkeypatch.setattr(publish, "send_message", send)
    # What cannot be sent is nothing that was done: who goes on while something is would never end.
    assert publish_due() == 2
    assert publish_due() == 0
    assert set(broker_queues.waiting_ids("default")) == {str(id_) for id_ in done.ids} - {odd}
    stream.ensure_group()
    Recorder(threading.Event()).step(0)
    found = Task.objects.get(pk=odd)
    assert (found.status, found.error_type) == (Status.FAILURE, "UnsendableError")
    assert [fault.item for fault in faults.recent()] == [f"task {odd}"]


def test_a_dispatch_of_which_no_message_can_be_made_ends_though_nobody_records(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(*_: Any, **options: Any) -> None:
        raise UnforeseenError("no message")

    monkeypatch.setattr(publish, "send_message", send)
    done = dispatch(Dispatch(task="drill_sleep", count=2, data=0.0), Origin(source="api"))
    assert set(Task.objects.values_list("status", flat=True)) == {Status.PENDING}
    stream.ensure_group()
    Recorder(threading.Event()).step(0)
    assert {task.status for task in Task.objects.filter(pk__in=done.ids)} == {Status.FAILURE}


def test_what_lies_under_an_owner_that_is_no_text_goes_back() -> None:
    dispatch(Dispatch(task="drill_sleep", data=0.0), Origin(source="api"))
    raw = stream.client().rpop("default")
    stream.client().hset(keys.UNACKED, "tag", json.dumps([json.loads(raw), "", "default"]))
    stream.client().hset(keys.TAKEN, "tag", b"\xff\xfe")
    recover()
    assert stream.client().llen("default") == 1


SURROGATE = rb"\ud800"
NO_MESSAGES = [
    b"not json", b"[]", b"[1,2,3]", b'[{}, "", "default"]', b'[{"headers": []}, "", "default"]',
    b'[{"headers": {"id": "x"}, "properties": {"priority": 0}}, "", "' + SURROGATE + b'"]',
]  # fmt: skip


@pytest.mark.parametrize("raw", NO_MESSAGES)
def test_what_a_dead_worker_held_and_is_no_message_is_set_aside(raw: bytes) -> None:
    stream.client().hset(keys.UNACKED, "tag", raw)
    stream.client().zadd(keys.UNACKED_INDEX, {"tag": 1})
    stream.client().hset(keys.TAKEN, "tag", "an instance that is gone")
    assert broker_queues.unacknowledged_by_queue().keys() <= {"default"}
    assert broker_queues.peek_unacknowledged("default", 5) is not None
    recover()
    assert not stream.client().exists(keys.UNACKED, keys.TAKEN, keys.UNACKED_INDEX)
    assert stream.unreadable_count() == 1


def test_a_message_whose_id_is_half_a_surrogate_pair_goes_back_to_its_queue(caplog: pytest.LogCaptureFixture) -> None:
    # What is logged of it goes into the report of the test, which pytest-xdist cannot write.
    caplog.set_level(logging.ERROR, "tasks_app.maintenance.reconciler")
    envelope = b'[{"headers": {"id": "' + SURROGATE + b'"}, "properties": {"priority": 0}}, "", "default"]'
    stream.client().hset(keys.UNACKED, "tag", envelope)
    stream.client().hset(keys.TAKEN, "tag", "an instance that is gone")
    recover()
    assert stream.client().llen("default") == 1
    assert faults.counts() == {}


def test_a_message_of_celerys_first_protocol_goes_back_to_its_queue() -> None:
    envelope = {
        "body": "e30=", "headers": {}, "content-type": "application/json", "content-encoding": "utf-8",
        "properties": {"delivery_tag": "tag", "priority": 0, "delivery_info": {"exchange": "", "routing_key": "default"}},
    }  # fmt: skip
    stream.client().hset(keys.UNACKED, "tag", json.dumps([envelope, "", "default"]))
    stream.client().zadd(keys.UNACKED_INDEX, {"tag": 1})
    stream.client().hset(keys.TAKEN, "tag", "an instance that is gone")
    recover()
    assert stream.client().llen("default") == 1
    assert stream.unreadable_count() == 0
    assert faults.counts() == {}


def recover() -> None:
    """Look as often as it takes until nobody holds on to what dead workers held."""
    now = [0.0]
    recoverer = HeldMessageRecovery(lambda: now[0])
    for _ in range(4):
        recoverer.run_once()
        now[0] += 3
