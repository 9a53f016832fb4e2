"""The recorder: every reported step is applied once, whatever comes twice, in any order, broken or late."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django_celery_results.models import TaskResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import MinuteRollup, Task, TaskEvent
from tasks_app.recording import apply as applying
from tasks_app.recording import recorder
from tasks_app.recording.apply import apply
from tasks_app.recording.recorder import Recorder
from tasks_app.recording.reducer import TaskState, fold
from tests.database import end_other_connections
from tests.histories import ARGS, KWARGS, NAME, QUEUE, START, TICK, arrivals, histories
from tests.waiting import eventually
from zenith_worker.wire import keys, stream
from zenith_worker.wire.events import Event, decode, encode
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.states import RANKS, TERMINAL, Status, position

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_stream() -> None:
    stream.client().flushdb()
    stream.ensure_group()


def record() -> int:
    """Run one recorder until the stream is empty; return how many entries it handled."""
    one = Recorder(threading.Event())
    handled = 0
    while count := one.step(block=0.01):
        handled += count
    return handled


def sent(count: int = 1) -> list[str]:
    """The ids of some tasks that are on the broker."""
    done = dispatch(Dispatch(task="drill_sleep", count=count, kwargs={"seconds": 0.0}), Origin(source="api"))
    return [str(task_id) for task_id in done.ids]


def step(task_id: str, status: Status, at: float = START, **more: Any) -> Event:
    return Event(task_id=task_id, status=status, at=at, **more)


def success(task_id: str, **more: Any) -> Event:
    return step(task_id, Status.SUCCESS, START + 3, worker="w1", result="5", **{"started_at": START + 1, "runtime": 2.0, **more})


def report(*events: Event) -> None:
    for event in events:
        stream.append([event])


def pending() -> int:
    """How many entries a recorder has read and not removed."""
    return int(stream.client().xpending(keys.EVENTS, stream.GROUP)["pending"])


def tallies() -> Counter[str]:
    """The rollups' sums."""
    found: Counter[str] = Counter()
    for row in MinuteRollup.objects.values("succeeded", "failed", "revoked", "retried"):
        found.update(row)
    return +found


def everything() -> list[Any]:
    """All that a recorder writes, to be compared."""
    return [list(model.objects.order_by("pk").values()) for model in (Task, TaskEvent, TaskResult, MinuteRollup)]


# --- What is written ---


def test_a_success_is_recorded_with_its_result_its_steps_and_its_minute() -> None:
    (task_id,) = sent()
    report(step(task_id, Status.STARTED, START + 1, worker="w1", received_at=START), success(task_id, received_at=START))
    assert record() == 2
    task = Task.objects.get()
    assert (task.status, task.worker, task.runtime, task.source) == ("SUCCESS", "w1", 2.0, "api")
    assert [moment.timestamp() for moment in (task.received_at, task.started_at, task.finished_at) if moment] == [
        START, START + 1, START + 3,
    ]  # fmt: skip
    steps = list(TaskEvent.objects.order_by("id").values_list("status", flat=True))
    assert steps == ["PENDING", "QUEUED", "RECEIVED", "STARTED", "SUCCESS"]
    result = TaskResult.objects.get()
    assert (result.task_id, result.status, result.result, result.task_name) == (task_id, "SUCCESS", "5", "drill_sleep")
    rollup = MinuteRollup.objects.get()
    assert (rollup.name, rollup.queue, rollup.succeeded, rollup.runtime_seconds) == ("drill_sleep", "default", 1, 2.0)
    assert sum(rollup.runtime_histogram) == 1
    assert stream.length() == 0


def test_a_failure_keeps_its_error_and_its_traceback() -> None:
    (task_id,) = sent()
    report(
        step(
            task_id,
            Status.FAILURE,
            error_type="ValueError",
            error_message="no",
            traceback="Trace…",
            result='{"exc_type": "ValueError"}',
        )
    )
    record()
    task = Task.objects.get()
    assert (task.status, task.error_type, task.error_message) == ("FAILURE", "ValueError", "no")
    assert TaskResult.objects.get().traceback == "Trace…"
    assert TaskEvent.objects.get(status="FAILURE").message == "ValueError: no"
    assert tallies() == {"failed": 1}


def test_a_retry_is_counted_and_says_why_and_when_it_runs_again() -> None:
    (task_id,) = sent()
    report(step(task_id, Status.RETRY, START, error_type="E", error_message="m", not_before=START + 60))
    record()
    task = Task.objects.get()
    assert (task.status, task.attempt, task.error_type) == ("RETRY", 1, "E")
    assert task.not_before is not None
    assert task.not_before.timestamp() == START + 60
    assert TaskEvent.objects.get(status="RETRY").message == "E: m"
    assert tallies() == {"retried": 1}
    assert not TaskResult.objects.exists()


def test_two_retries_of_one_batch_are_counted_in_the_minutes_in_which_they_happened() -> None:
    (task_id,) = sent()
    minute = START // 60 * 60
    stream.append([step(task_id, Status.RETRY, minute + 1), step(task_id, Status.RETRY, minute + 61, attempt=1)])
    record()
    assert list(MinuteRollup.objects.order_by("minute").values_list("retried", flat=True)) == [1, 1]


def test_a_task_that_nobody_dispatched_gets_a_row_from_its_first_step() -> None:
    (event,) = [step("01936b2a-7c11-7a10-8000-000000000001", Status.RECEIVED, name=NAME, queue=QUEUE, args=ARGS, kwargs=KWARGS)]
    report(event)
    record()
    task = Task.objects.get()
    assert (str(task.id), task.name, task.queue, task.source) == (event.task_id, NAME, QUEUE, "external")
    assert (task.args, task.kwargs, task.status, task.max_retries) == (ARGS, KWARGS, "RECEIVED", None)
    assert task.created_at.timestamp() == START


@pytest.mark.parametrize("parent", ["nightly", "", "x\x00", "01936b2a-7c11-7a10-8000-00000000000'", "0" * 33])
def test_a_parent_may_have_any_id(parent: str) -> None:
    report(step("01936b2a-7c11-7a10-8000-000000000001", Status.QUEUED, name=NAME, queue=QUEUE, parent_id=parent))
    record()
    assert (Task.objects.get().parent_id, stream.unreadable_count()) == (key_of(parent) if parent else None, 0)


def test_a_parent_is_known_from_whichever_step_tells_it_first() -> None:
    task_id, parent = "01936b2a-7c11-7a10-8000-000000000001", "01936b2a-7c11-7a10-8000-00000000000a"
    for more in ({}, {"parent_id": parent}, {}):
        report(step(task_id, Status.QUEUED, name=NAME, queue=QUEUE, **more))
        record()
    assert Task.objects.get().parent_id == UUID(parent)


def test_what_postgresql_cannot_store_is_replaced_and_the_task_still_shows() -> None:
    (task_id,) = sent()
    foreign = "01936b2a-7c11-7a10-8000-000000000002"
    report(
        step(task_id, Status.FAILURE, error_type="E", error_message="a\x00b \ud800", traceback="t\x00"),
        step(foreign, Status.QUEUED, name=NAME, queue=QUEUE, args=["a\x00b", float("nan")], kwargs={"k\x00": "\ud800"}),
    )
    record()
    assert Task.objects.get(id=task_id).error_message == "a\ufffdb \ufffd"
    assert Task.objects.get(id=foreign).args == ["a\ufffdb", "nan"]
    assert stream.unreadable_count() == 0


def test_a_batch_is_applied_with_a_fixed_number_of_queries() -> None:
    few, many = sent(2), sent(300)

    def queries_for(ids: list[str]) -> int:
        with CaptureQueriesContext(connection) as queries:
            apply([event for task_id in ids for event in (step(task_id, Status.STARTED), success(task_id))])
        return len(queries)

    assert queries_for(many) == queries_for(few) <= 10


def test_all_of_a_batch_is_one_transaction() -> None:
    first, second = sent(2)
    with pytest.raises(DataError, match="NUL"):
        apply([success(first), success(second, meta="\x00")])
    assert set(Task.objects.values_list("status", flat=True)) == {"QUEUED"}
    assert not TaskResult.objects.exists()
    assert not MinuteRollup.objects.exists()
    assert not TaskEvent.objects.exclude(status__in=["PENDING", "QUEUED"]).exists()


# --- Twice, and in any order ---


def test_what_is_reported_again_changes_nothing_at_all() -> None:
    first, second = sent(2)
    events = [
        step(first, Status.STARTED, received_at=START, worker="w1"),
        step(first, Status.RETRY, error_type="E", started_at=START),
        success(first, attempt=1),
        step(second, Status.FAILURE, error_type="E", traceback="T"),
    ]
    report(*events)
    record()
    before = everything()
    report(*events, *reversed(events))
    assert record() == 8
    assert everything() == before


def test_the_same_step_twice_in_one_batch_is_one_event_and_one_count() -> None:
    (task_id,) = sent()
    apply([success(task_id), success(task_id), step(task_id, Status.RETRY), step(task_id, Status.RETRY)])
    assert tallies() == {"succeeded": 1, "retried": 1}
    assert TaskEvent.objects.filter(status="SUCCESS").count() == 1


def test_an_outcome_that_comes_before_the_start_stands() -> None:
    (task_id,) = sent()
    report(success(task_id))
    record()
    report(step(task_id, Status.STARTED, START + 1, worker="w1"))
    record()
    assert Task.objects.get().status == "SUCCESS"
    assert TaskResult.objects.get().status == "SUCCESS"


@pytest.mark.parametrize("batches", [[1, 1, 1], [3]], ids=["each", "together"])
def test_what_a_copy_told_of_the_same_delivery_gives_way_to_the_outcome(batches: list[int]) -> None:
    """A relay that died sent the message twice, and the outcome waited in the stream while the copy came."""
    (task_id,) = sent()
    events = [
        step(task_id, Status.RECEIVED, START + 6, worker="w2"),
        step(task_id, Status.STARTED, START + 7, worker="w2", received_at=START + 6),
        success(task_id, received_at=START),
    ]
    for size in batches:
        apply([events.pop(0) for _ in range(size)])
    told = TaskEvent.objects.filter(position__gt=position(0, 0, Status.QUEUED)).order_by("position")
    assert [(event.status, event.at.timestamp() - START, event.worker) for event in told] == [
        ("RECEIVED", 0, "w1"), ("STARTED", 1, "w1"), ("SUCCESS", 3, "w1"),
    ]  # fmt: skip
    task = Task.objects.get()
    assert [moment.timestamp() - START for moment in (task.received_at, task.started_at, task.finished_at) if moment] == [0, 1, 3]
    assert task.worker == "w1"


def test_a_step_that_knows_less_does_not_take_back_what_another_one_told() -> None:
    foreign = "01936b2a-7c11-7a10-8000-000000000004"
    known: dict[str, Any] = {"name": NAME, "queue": QUEUE, "args": ARGS, "kwargs": KWARGS}
    report(step(foreign, Status.STARTED, START + 1, priority=3, **known))
    record()
    report(step(foreign, Status.QUEUED, START, **known))
    record()
    task = Task.objects.get()
    assert (task.priority, task.status, task.args) == (3, "STARTED", ARGS)
    assert task.queued_at is not None


def begin(task_id: str, *, external: bool) -> TaskState | None:
    """Write the row that a dispatch would have written; return the same as a state."""
    if external:
        return None
    at = position(0, 0, Status.QUEUED)
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO tasks_app_task (id, name, queue, source, status, position, args, kwargs, worker, error_type,
                error_message, created_at, queued_at)
            VALUES (%s, %s, %s, 'api', 'QUEUED', %s, '[]', '{}', '', '', '', to_timestamp(%s), to_timestamp(%s))""",
            [task_id, NAME, QUEUE, at, START, START],
        )
    return TaskState(
        id=task_id, name=NAME, queue=QUEUE, source="api", status=Status.QUEUED, position=at, created_at=START, queued_at=START
    )


def expected_steps(history: list[Event]) -> set[tuple[str, int]]:
    """Every step that the history tells, those that travel with others included."""
    found = set()
    for event in history:
        stem = event.position & ~0xFF
        found.add((event.status.value, event.position))
        if event.received_at is not None:
            found.add(("RECEIVED", stem | RANKS[Status.RECEIVED]))
        if event.started_at is not None:
            found.add(("STARTED", stem | RANKS[Status.STARTED]))
    return found


@pytest.mark.django_db(transaction=False)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(data=st.data(), history=histories())
def test_any_order_any_duplication_and_any_batches_end_in_the_same_rows(data: st.DataObject, history: list[Event]) -> None:
    MinuteRollup.objects.all().delete()
    task_id = history[0].task_id
    state = begin(task_id, external=bool(history[0].name)) or TaskState(id=task_id)
    for event in history:
        fold(state, event)
    arrived = data.draw(arrivals(history))
    while arrived:
        size = data.draw(st.integers(1, len(arrived)))
        batch, arrived = arrived[:size], arrived[size:]
        # As from the stream: apply may change what it is given.
        apply(decode(encode(batch)))

    task = Task.objects.get(id=task_id)
    for name in ("name", "queue", "source", "status", "position", "priority", "worker", "error_type", "error_message", "runtime"):
        assert getattr(task, name) == getattr(state, name), name
    for name in ("created_at", "not_before", "queued_at", "received_at", "started_at", "finished_at"):
        moment = getattr(task, name)
        assert (moment and moment.timestamp()) == getattr(state, name), name
    if state.source == "external":
        assert (task.args, task.kwargs) == (ARGS, KWARGS)

    assert set(TaskEvent.objects.filter(task_id=task_id).values_list("status", "position")) == expected_steps(history)
    ends = [event for event in history if event.status in TERMINAL]
    results = TaskResult.objects.filter(task_id=task_id).values_list("status", "traceback", "worker", "task_name")
    assert list(results) == [(event.status.value, event.traceback, event.worker, NAME) for event in ends]
    member = {"SUCCESS": "succeeded", "FAILURE": "failed", "REVOKED": "revoked", "RETRY": "retried"}
    counted = [member[event.status] for event in history if event.status in {*TERMINAL, Status.RETRY}]
    assert tallies() == Counter(counted)
    for minute in MinuteRollup.objects.all():
        told = [event for event in history if event.status == Status.RETRY and event.at // 60 * 60 == minute.minute.timestamp()]
        assert minute.retried == len(told)
        assert minute.runtime_seconds == (TICK if minute.succeeded + minute.failed + minute.revoked else 0.0)


# --- What goes wrong ---


@pytest.mark.parametrize("garbage", [b"", b"not json", b"[1]", b'[{"task_id": "x"}]', b"[" * 50_000, b"\xff\x00"])
def test_an_unreadable_entry_is_set_aside_with_the_reason_and_the_rest_is_recorded(garbage: bytes) -> None:
    before, after = sent(2)
    report(success(before))
    stream.client().xadd(keys.EVENTS, {"e": garbage})
    report(success(after))
    assert record() == 3
    assert list(Task.objects.values_list("status", flat=True)) == ["SUCCESS", "SUCCESS"]
    assert (stream.length(), stream.unreadable_count(), pending()) == (0, 1, 0)
    ((_, kept),) = stream.client().xrange(keys.UNREADABLE)
    assert kept[b"e"] == garbage
    assert kept[b"reason"].startswith(b"UnreadableEntryError: ")


@pytest.mark.parametrize("odd", ["result", "meta", "periodic_task_name"])
def test_what_postgresql_refuses_costs_no_other_task_its_end(odd: str) -> None:
    before, refused, after = sent(3)
    event = success(refused)
    setattr(event, odd, "\x00")
    report(success(before), event, success(after))
    record()
    assert Counter(Task.objects.values_list("status", flat=True)) == {"SUCCESS": 3}
    assert (stream.length(), pending(), TaskResult.objects.count()) == (0, 0, 3)


@pytest.mark.parametrize(
    "odd",
    [
        {"name": "n" * 300}, {"name": "n\x00"}, {"queue": "q" * 300}, {"worker": "w" * 300}, {"priority": 10**6},
        {"attempt": 2**30}, {"nesting": 2**30}, {"delivery": 10**9},
    ],
    ids=lambda odd: next(iter(odd)),
)  # fmt: skip
def test_an_end_with_an_odd_value_beside_it_is_recorded(odd: dict[str, Any]) -> None:
    id_ = "01936b2a-7c11-7a10-8000-000000000003"
    report(step(id_, Status.SUCCESS, **{"name": NAME, "queue": QUEUE, **odd}))
    record()
    assert Task.objects.get(id=id_).status == "SUCCESS"
    assert (stream.length(), stream.unreadable_count(), pending()) == (0, 0, 0)


@pytest.mark.parametrize(
    "wrong", [{"priority": "high"}, {"runtime": -1}, {"args": "none"}, {"worker": 5}, {"received_at": 1e300}, {"attempt": 2**60}]
)
def test_of_an_entry_that_cannot_be_read_the_end_is_recorded_all_the_same(wrong: dict[str, Any]) -> None:
    (task_id,) = sent()
    row = {"task_id": task_id, "status": "SUCCESS", "at": START, **wrong}
    stream.client().xadd(keys.EVENTS, {"e": json.dumps([{"nonsense": True}, row])})
    record()
    assert Task.objects.get(id=task_id).status == "SUCCESS"
    assert "could not be stored" in TaskEvent.objects.get(task=task_id, status="SUCCESS").message
    assert (stream.length(), stream.unreadable_count(), pending()) == (0, 1, 0)


def test_what_a_dead_recorder_had_read_is_claimed_and_recorded() -> None:
    (task_id,) = sent()
    report(success(task_id))
    (entry,) = stream.read("dead", count=10, block=0.01)
    assert record() == 0, "an entry in good hands was taken away"
    idle = int(recorder.CLAIM_AFTER * 1000) + 1
    stream.client().xclaim(keys.EVENTS, stream.GROUP, "dead", 0, [entry.id], idle=idle)
    assert record() == 1
    assert Task.objects.get().status == "SUCCESS"
    assert (stream.length(), pending()) == (0, 0)


@contextmanager
def row_locked_elsewhere(task_id: str) -> Iterator[None]:
    """Another connection holds the row, and this one does not wait for it."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        from django.db import transaction

        with transaction.atomic():
            Task.objects.select_for_update().get(id=task_id)
            held.set()
            release.wait(20)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    try:
        yield
    finally:
        release.set()
        thread.join(10)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")


def test_an_apply_that_fails_leaves_the_entry_to_be_tried_again() -> None:
    (task_id,) = sent()
    report(success(task_id))
    with row_locked_elsewhere(task_id), pytest.raises(OperationalError, match="lock timeout"):
        Recorder(threading.Event()).step(block=0.01)
    assert (stream.length(), pending(), stream.unreadable_count()) == (1, 1, 0)
    assert Task.objects.get().status == "QUEUED"
    ((entry_id, _),) = stream.client().xrange(keys.EVENTS)
    idle = int(recorder.CLAIM_AFTER * 1000) + 1
    stream.client().xclaim(keys.EVENTS, stream.GROUP, "whoever", 0, [entry_id], idle=idle)
    assert record() == 1
    assert Task.objects.get().status == "SUCCESS"
    assert (stream.length(), pending()) == (0, 0)


def test_an_entry_is_removed_only_after_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    (task_id,) = sent()
    report(success(task_id))
    seen: list[tuple[str, bool, int]] = []
    really_done = stream.done

    def watched(entries: Any) -> None:
        seen.append((Task.objects.get().status, connection.in_atomic_block, stream.length()))
        really_done(entries)

    monkeypatch.setattr(stream, "done", watched)
    record()
    assert seen == [("SUCCESS", False, 1)]


@contextmanager
def running_recorders(count: int = 1) -> Iterator[None]:
    """Run recorders in threads, as engines do, and end them."""
    stop = threading.Event()

    def run() -> None:
        try:
            recorder.run(stop)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(15)
        assert not any(thread.is_alive() for thread in threads)


def test_two_recorders_share_the_stream_and_count_nothing_twice() -> None:
    ids = sent(300)
    with running_recorders(2):
        for task_id in ids:
            stream.append([step(task_id, Status.STARTED, worker="w1"), step(task_id, Status.RETRY)])
            report(success(task_id, attempt=1), success(task_id, attempt=1))
        eventually(lambda: stream.length() == 0)
    assert tallies() == {"succeeded": 300, "retried": 300}
    assert TaskResult.objects.count() == 300
    assert TaskEvent.objects.filter(status="SUCCESS").count() == 300


def test_a_task_that_another_recorder_inserts_meanwhile_is_folded_into_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    id_, lock = str(new_id()), applying._lock

    def received() -> None:
        try:
            apply([step(id_, Status.RECEIVED, START + 1, worker="w1", name="their.task", queue="theirs")])
        finally:
            connection.close()

    def lock_and_wait(*arguments: Any) -> Any:
        states = lock(*arguments)
        monkeypatch.setattr(applying, "_lock", lock)
        other = threading.Thread(target=received)
        other.start()
        other.join(10)
        return states

    monkeypatch.setattr(applying, "_lock", lock_and_wait)
    apply([success(id_)])
    task = Task.objects.get()
    assert (task.status, task.name, task.queue, task.worker) == ("SUCCESS", "their.task", "theirs", "w1")
    assert task.received_at
    assert list(TaskEvent.objects.order_by("id").values_list("status", flat=True)) == ["RECEIVED", "STARTED", "SUCCESS"]
    assert tallies() == {"succeeded": 1}
    assert TaskResult.objects.get().task_name == "their.task"


def test_large_entries_are_applied_in_several_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sent(5)
    report(*map(success, ids))
    monkeypatch.setattr(recorder, "BATCH_BYTES", 2 * len(encode([success(ids[0])])))
    applied: list[int] = []
    monkeypatch.setattr(recorder, "apply", lambda events, *rest: applied.append(len(events)) or apply(events, *rest))
    assert record() == 5
    assert applied == [2, 2, 1]
    assert Task.objects.filter(status="SUCCESS").count() == 5
    assert stream.length() == pending() == 0


def test_a_recorder_survives_the_loss_of_its_database_connection_and_of_its_stream() -> None:
    first, second = sent(2)
    with running_recorders():
        report(success(first))
        eventually(lambda: Task.objects.get(id=first).status == "SUCCESS")
        end_other_connections()
        stream.client().delete(keys.EVENTS)
        report(success(second))
        eventually(lambda: Task.objects.get(id=second).status == "SUCCESS")


def test_consumers_that_ended_long_ago_are_forgotten_unless_they_hold_something() -> None:
    report(*(success(task_id) for task_id in sent(2)))
    stream.read("busy", count=1, block=0.01)
    stream.client().xgroup_createconsumer(keys.EVENTS, stream.GROUP, "gone")
    eventually(lambda: min(item["idle"] for item in stream.client().xinfo_consumers(keys.EVENTS, stream.GROUP)) > 2)
    stream.forget_idle_consumers(idle=0.001)
    assert [item["name"] for item in stream.client().xinfo_consumers(keys.EVENTS, stream.GROUP)] == [b"busy"]


def test_an_entry_holds_what_several_steps_told_at_once() -> None:
    ids = sent(3)
    stream.append([success(task_id) for task_id in ids])
    assert stream.length() == 1
    assert record() == 1
    assert Task.objects.filter(status="SUCCESS").count() == 3
    assert json.loads(TaskResult.objects.first().result) == 5  # type: ignore[union-attr]
