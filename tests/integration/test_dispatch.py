"""Dispatching: rows first, in one transaction; messages after the commit; nothing twice and nothing by halves."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app, signals
from celery._state import _task_stack
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.dispatch import create
from tasks_app.dispatch.create import MAX_COUNT, Dispatch, Dispatched, Origin, dispatch
from tasks_app.dispatch.publish import publish_batch, publish_due
from tasks_app.dispatch.rerun import run_again
from tasks_app.errors import IdempotencyConflictError, InvalidDispatchError
from tasks_app.models import Batch, IdempotencyKey, Task, TaskEvent
from tests.broker import messages
from tests.processes import REPOSITORY
from tests.stack import environment
from tests.waiting import eventually
from zenith_worker.wire import stream
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

API = Origin(source="api", sent_by="a test")
ID, OTHER = "01936b2a-7c11-7a10-8000-00000000000a", "01936b2a-7c11-7a10-8000-00000000000b"


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def crash_after_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that dispatches dies after its commit and before it publishes."""
    monkeypatch.setattr(create, "publish_batch", lambda batch_id: 0)


@pytest.fixture
def published() -> Iterator[list[tuple[str, str]]]:
    """Which of Celery's publish signals fired for which task, in order."""
    seen: list[tuple[str, str]] = []

    def before(headers: dict[str, Any], **_: Any) -> None:
        seen.append(("before", headers["id"]))

    def after(headers: dict[str, Any], **_: Any) -> None:
        seen.append(("after", headers["id"]))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    yield seen
    signals.before_task_publish.disconnect(before)
    signals.after_task_publish.disconnect(after)


def sleeps(count: int = 1, **more: Any) -> Dispatch:
    return Dispatch(task="drill_sleep", count=count, kwargs={"seconds": 0.0}, **more)


def steps_of(task_id: object) -> list[str]:
    return list(TaskEvent.objects.filter(task_id=task_id).order_by("id").values_list("status", flat=True))


def at_once(function: Callable[[], Any], threads: int = 2) -> list[Any]:
    """Run a function in several threads that start together; return what it returned or raised in each."""
    together = threading.Barrier(threads)
    outcomes: list[Any] = []

    def run() -> None:
        try:
            together.wait(10)
            outcomes.append(function())
        except Exception as error:
            outcomes.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert len(outcomes) == threads
    return outcomes


# --- What is written ---


def test_a_dispatch_writes_a_batch_its_tasks_and_their_steps() -> None:
    done = dispatch(Dispatch(data=["One.", "Two."], max_retries=1, priority=6), API)
    batch = Batch.objects.get()
    assert (batch.id, batch.size, batch.task_name, batch.sent_by) == (done.batch_id, 2, "analyze_text", "a test")
    tasks = list(Task.objects.order_by("id"))
    assert [(task.id, task.args, task.status) for task in tasks] == [
        (done.ids[0], ["One."], Status.QUEUED),
        (done.ids[1], ["Two."], Status.QUEUED),
    ]
    assert {(task.queue, task.source, task.max_retries, task.priority) for task in tasks} == {("default", "api", 1, 6)}
    assert all(task.queued_at is not None for task in tasks)
    assert steps_of(done.ids[0]) == ["PENDING", "QUEUED"]


def test_nothing_given_means_ten_sample_texts() -> None:
    done = dispatch(Dispatch(), API)
    texts = list(Task.objects.values_list("args__0", flat=True))
    assert len(done.ids) == len(set(texts)) == 10


def test_a_task_that_says_nothing_of_retries_gets_its_own_number() -> None:
    dispatch(sleeps(), API)
    assert Task.objects.get().max_retries == 3


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        (Dispatch(task="no_such_task"), "/task"),
        (Dispatch(count=0), "/count"),
        (Dispatch(count=MAX_COUNT + 1), "/count"),
        (Dispatch(data=["a", "b"], count=3), "/data"),
        (Dispatch(data=["fine", 5]), "/data/1"),
        (Dispatch(data="a\x00b"), "/data"),
        (Dispatch(task="drill_sleep", kwargs={"secs": 1}), "/kwargs/secs"),
        (Dispatch(task="drill_sleep", kwargs={"seconds": "long"}), "/kwargs/seconds"),
        (sleeps(queue=""), "/queue"),
        (sleeps(queue="q" * 101), "/queue"),
        (sleeps(priority=10), "/priority"),
        (sleeps(max_retries=-1), "/max_retries"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_dispatched_is_named_and_nothing_is_written(asked: Dispatch, pointer: str) -> None:
    with pytest.raises(InvalidDispatchError) as refused:
        dispatch(asked, API)
    assert pointer in [problem.pointer for problem in refused.value.problems]
    assert not Batch.objects.exists()
    assert not messages()


def test_a_transaction_that_rolls_back_leaves_neither_rows_nor_messages() -> None:
    def failing() -> None:
        with transaction.atomic():
            dispatch(sleeps(3), API)
            assert Task.objects.count() == 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert not Batch.objects.exists()
    assert not Task.objects.exists()
    assert not TaskEvent.objects.exists()
    assert not messages()
    assert publish_due() == 0
    assert not messages()


def test_no_message_leaves_before_the_commit() -> None:
    with transaction.atomic():
        dispatch(sleeps(3), API)
        assert not messages()
        assert set(Task.objects.values_list("status", flat=True)) == {Status.PENDING}
    assert len(messages()) == 3


# --- What is sent ---


def test_the_message_carries_the_id_the_arguments_and_the_retries() -> None:
    done = dispatch(Dispatch(data=["Grüße."], max_retries=7), API)
    (message,) = messages()
    assert message.id == message.properties["correlation_id"] == str(done.ids[0])
    assert (message.headers["task"], message.args, message.kwargs) == ("analyze_text", ["Grüße."], {})
    assert (message.headers["zenith"], message.headers["zenith_max_retries"]) == (1, 7)
    assert message.headers["retries"] == 0
    assert message.headers["eta"] is None


def test_the_message_has_the_same_headers_as_one_that_celery_sends_itself() -> None:
    from celery import current_app

    dispatch(sleeps(), API)
    (ours,) = messages()
    stream.client().delete("default")
    current_app.tasks["drill_sleep"].apply_async(kwargs={"seconds": 0.0})
    (plain,) = messages()
    assert {name for name in ours.headers if not name.startswith("zenith")} == set(plain.headers)
    its_own = {"id", "root_id", "origin", "argsrepr", "stamps", "stamped_headers"}
    for name in set(plain.headers) - its_own:
        assert ours.headers[name] == plain.headers[name], name
    assert set(ours.properties) >= set(plain.properties) - {"reply_to"}


@contextmanager
def inside_of(task_id: str, root_id: str | None = None) -> Iterator[None]:
    """As in the body of a task."""
    task = current_app.tasks["drill_sleep"]
    task.push_request(id=task_id, root_id=root_id, called_directly=False)
    _task_stack.push(task)
    try:
        yield
    finally:
        _task_stack.pop()
        task.pop_request()


@pytest.mark.parametrize(
    ("task_id", "root_id", "parent", "root"),
    [
        (ID, None, ID, ID),
        (ID, OTHER, ID, OTHER),
        (ID.upper(), "x\x00", ID.upper(), "x\ufffd"),
        ("nightly", OTHER, "nightly", OTHER),
        ("nightly", "nightly", "nightly", "nightly"),
    ],
)
def test_what_a_task_dispatches_says_who_sent_it(task_id: str, root_id: str | None, parent: str, root: str) -> None:
    with inside_of(task_id, root_id):
        done = dispatch(sleeps(2), API)
    assert [message.id for message in messages()] == [str(id_) for id_ in done.ids]
    for message in messages():
        assert message.headers["parent_id"] == parent
        assert message.headers["root_id"] == root
    assert set(Task.objects.values_list("parent_id", flat=True)) == {key_of(task_id)}


def test_what_a_task_runs_again_was_sent_by_it_too() -> None:
    (old,) = dispatch(sleeps(), API).ids
    Task.objects.update(status=Status.SUCCESS, finished_at=timezone.now())
    with inside_of(ID):
        new = run_again(old, API)
    again = Task.objects.get(id=new)
    assert (again.replay_of_id, str(again.parent_id)) == (old, ID)


def test_a_queue_of_its_own_gets_the_message() -> None:
    dispatch(sleeps(queue="reports"), API)
    assert not messages()
    assert len(messages("reports")) == 1
    assert Task.objects.get().queue == "reports"


def test_a_priority_reaches_the_broker() -> None:
    dispatch(sleeps(priority=9), API)
    dispatch(sleeps(priority=0), API)
    # Kombu's Redis transport serves the lowest number first.
    assert [message.properties["priority"] for message in messages()] == [0, 9]


def test_ids_are_the_messages_ids_and_ordered_by_time() -> None:
    first, second = dispatch(sleeps(50), API), dispatch(sleeps(50), API)
    ids = first.ids + second.ids
    assert [message.id for message in messages()] == [str(item) for item in ids]
    assert {item.version for item in ids} == {7}
    assert ids == sorted(set(ids))


def test_celerys_publish_signals_fire_for_every_task(published: list[tuple[str, str]]) -> None:
    done = dispatch(sleeps(3), API)
    ids = [str(item) for item in done.ids]
    assert [item for when, item in published if when == "before"] == ids
    assert [item for when, item in published if when == "after"] == ids


def test_a_dispatched_task_is_not_reported_as_one_that_other_code_sent() -> None:
    dispatch(sleeps(2), API)
    assert stream.length() == 0


def test_ten_thousand_tasks_are_one_dispatch_with_few_queries() -> None:
    with CaptureQueriesContext(connection) as queries:
        done = dispatch(sleeps(MAX_COUNT), API)
    assert len(done.ids) == MAX_COUNT
    assert len(queries) <= 100
    assert Task.objects.filter(status=Status.QUEUED).count() == MAX_COUNT
    assert TaskEvent.objects.count() == 2 * MAX_COUNT
    assert stream.client().llen("default") == MAX_COUNT


def test_the_number_of_queries_does_not_grow_with_the_tasks_of_a_chunk() -> None:
    dispatch(sleeps(), API)
    with CaptureQueriesContext(connection) as few:
        dispatch(sleeps(2), API)
    with CaptureQueriesContext(connection) as many:
        dispatch(sleeps(200), API)
    assert len(many) == len(few)


# --- When it is sent ---


def test_a_task_for_later_is_held_and_never_on_the_broker_before_it_is_due() -> None:
    done = dispatch(sleeps(not_before=timezone.now() + timedelta(hours=1)), API)
    assert Task.objects.get().status == Status.SCHEDULED
    assert steps_of(done.ids[0]) == ["SCHEDULED"]
    assert publish_due() == publish_batch(done.batch_id) == 0
    assert not messages()
    # Its hour has come.
    Task.objects.update(not_before=timezone.now())
    assert publish_due() == 1
    assert messages()[0].headers["eta"] is None
    assert Task.objects.get().status == Status.QUEUED
    assert steps_of(done.ids[0]) == ["SCHEDULED", "PENDING", "QUEUED"]


def test_a_task_for_a_time_that_has_passed_is_sent_at_once() -> None:
    dispatch(sleeps(not_before=timezone.now() - timedelta(seconds=1)), API)
    assert len(messages()) == 1


def test_with_the_broker_away_the_tasks_are_kept_and_sent_when_it_is_back() -> None:
    script = """
import django
django.setup()
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
done = dispatch(Dispatch(task="drill_sleep", count=3, kwargs={"seconds": 0.0}), Origin(source="api"))
print(len(done.ids))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(REDIS_URL="redis://127.0.0.1:1/0"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "3"
    assert "waits for the relay" in ran.stderr
    assert list(Task.objects.values_list("status", flat=True)) == [Status.PENDING] * 3
    assert publish_due() == 3
    assert len(messages()) == 3


def test_connections_that_died_while_idle_do_not_fail_a_dispatch() -> None:
    dispatch(sleeps(), API)
    for client in stream.client().client_list():
        if client["id"] != str(stream.client().client_id()):
            stream.client().client_kill_filter(_id=client["id"])
    done = dispatch(sleeps(3), API)
    # Sent at once over new connections, or left for the relay; never lost and never an error.
    publish_due()
    assert {message.id for message in messages()} >= {str(item) for item in done.ids}
    assert not Task.objects.exclude(status=Status.QUEUED).exists()


@pytest.mark.usefixtures("crash_after_commit")
def test_two_publishers_at_once_send_nothing_twice() -> None:
    done = dispatch(sleeps(1500), API)
    assert not messages()

    def publish_all() -> int:
        sent = 0
        while count := publish_due(limit=100):
            sent += count
        return sent

    assert sum(at_once(publish_all)) == 1500
    assert Counter(message.id for message in messages()) == Counter(str(item) for item in done.ids)
    assert TaskEvent.objects.filter(status=Status.QUEUED).count() == 1500


def test_publishing_a_batch_again_sends_nothing() -> None:
    done = dispatch(sleeps(3), API)
    assert publish_batch(done.batch_id) == 0
    assert publish_due() == 0
    assert len(messages()) == 3


# --- The same request twice ---

KEYED = Origin(source="api", sent_by="a test", idempotency_key="order-4711")


def test_the_same_key_and_request_answer_with_the_first_dispatch() -> None:
    first, second = dispatch(sleeps(3), KEYED), dispatch(sleeps(3), KEYED)
    assert second == Dispatched(first.batch_id, first.ids, first.celery_ids, repeated=True)
    assert not first.repeated
    assert len(messages()) == Task.objects.count() == 3


def test_the_same_key_for_another_request_is_a_conflict() -> None:
    dispatch(sleeps(3), KEYED)
    with pytest.raises(IdempotencyConflictError):
        dispatch(sleeps(4), KEYED)
    assert Task.objects.count() == 3


def test_one_callers_key_says_nothing_of_anothers() -> None:
    dispatch(sleeps(), KEYED)
    other = dispatch(sleeps(), Origin(source="api", sent_by="somebody else", idempotency_key=KEYED.idempotency_key))
    assert not other.repeated


def test_a_key_is_free_again_after_a_day() -> None:
    first = dispatch(sleeps(), KEYED)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    second = dispatch(sleeps(), KEYED)
    assert (second.repeated, second.batch_id != first.batch_id) == (False, True)


def test_of_two_requests_with_one_key_at_once_one_dispatches() -> None:
    outcomes = at_once(lambda: dispatch(sleeps(5), KEYED), threads=4)
    assert {outcome.batch_id for outcome in outcomes} == {Batch.objects.get().id}
    assert sorted(outcome.repeated for outcome in outcomes) == [False, True, True, True]
    eventually(lambda: len(messages()) == 5)


def test_many_messages_are_pipelined() -> None:
    with current_app.producer_or_acquire() as producer:
        assert producer.supports_batch_publish
