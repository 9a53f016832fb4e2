"""Cancelling: what it does to a task in each status, and that it lasts whatever is restarted meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis
from celery import current_app
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from django.db import connection
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.dispatch import cancel as cancelling
from tasks_app.dispatch.cancel import cancel, revoke_requested
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.publish import publish_batch, publish_due
from tasks_app.models import MinuteRollup, Task, TaskEvent
from tasks_app.recording.apply import apply
from tests import stack as stacks
from tests.broker import messages
from tests.processes import Process
from tests.stack import Stack
from tests.waiting import eventually
from zenith_worker.wire import claims, keys, stream
from zenith_worker.wire.claims import Verdict
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import CLAIM
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alone() -> None:
    """No process but this one."""
    stream.client().flushdb()


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(tmp_path_factory.mktemp("cancel"), ZENITH_TASK_MODULES="tests.sample_tasks"):
        stack.engine()
        yield stack


@pytest.fixture
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    yield from stacks.settling(module_stack)


@pytest.fixture
def worker(stack: Stack) -> Iterator[Process]:
    """A worker for one test: others need that there is none."""
    process = stack.worker("one@cancel")
    yield process
    process.stop()


def sent(count: int = 1, **more: Any) -> list[UUID]:
    """The ids of some dispatched tasks."""
    asked = {"task": "analyze_text", "data": "x", **more}
    return dispatch(Dispatch(count=count, **asked), Origin(source="api")).ids


def unsent(count: int = 1) -> list[UUID]:
    """The ids of some tasks that are committed, and whose messages did not leave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks_app.dispatch.create.publish_batch", lambda _: 0)
        return sent(count)


def moves(task_id: UUID, status: Status, **more: Any) -> None:
    """Record a step of a task."""
    apply([Event(task_id=str(task_id), status=status, at=time.time(), **more)])


def runs(task_id: UUID, *, alive: bool = True) -> None:
    """Let a worker have started a task."""
    stream.client().set(f"{CLAIM}{task_id}", "R|0|one|t|1|0")
    if alive:
        stream.client().set(keys.ALIVE + "one", "w", ex=60)


def status(task_id: UUID) -> str:
    return str(Task.objects.get(id=task_id).status)


# --- In each status ---


def test_a_scheduled_task_is_revoked_and_never_sent(alone: None) -> None:
    (task_id,) = sent(not_before=timezone.now() + timedelta(days=400))
    assert cancel([task_id], by="ada") == Cancelled(1, 0, 0)
    Task.objects.update(not_before=timezone.now())
    assert publish_due() == 0
    task = Task.objects.get()
    assert (task.status, task.finished_at is not None, task.cancel_requested_at is not None) == ("REVOKED", True, True)
    assert TaskEvent.objects.get(status="REVOKED").message == "cancelled by ada"
    assert messages() == []


def test_a_pending_task_is_revoked_and_never_sent(alone: None) -> None:
    ids = unsent(3)
    assert cancel(ids[:2], by="ada") == Cancelled(2, 0, 0)
    assert publish_due() == 1
    assert publish_batch(Task.objects.values_list("batch_id", flat=True)[0]) == 0
    assert [message.id for message in messages()] == [str(ids[2])]


def test_a_pending_task_whose_relay_died_after_sending_it_is_refused_by_workers(alone: None) -> None:
    (task_id,) = sent()
    Task.objects.update(status="PENDING")
    assert cancel([task_id], by="ada").revoked == 1
    assert claims.begin(str(task_id), run=RunNumber(0, 0), token="t").verdict == Verdict.CANCELLED


def test_a_pending_task_that_runs_all_the_same_is_not_called_revoked(alone: None) -> None:
    (task_id,) = sent()
    Task.objects.update(status="PENDING")
    runs(task_id)
    assert cancel([task_id], by="ada") == Cancelled(0, 1, 0)
    assert status(task_id) == "PENDING"


@pytest.mark.parametrize("step", [None, Status.RECEIVED])
def test_a_task_on_the_broker_is_revoked_and_refused_by_workers(alone: None, step: Status | None) -> None:
    (task_id,) = sent()
    if step:
        moves(task_id, step, worker="w")
    assert cancel([task_id], by="") == Cancelled(1, 0, 0)
    assert status(task_id) == "REVOKED"
    assert claims.begin(str(task_id), run=RunNumber(0, 0), token="t").verdict == Verdict.CANCELLED
    assert TaskEvent.objects.get(status="REVOKED").message == "cancelled"


def test_a_retry_is_revoked_and_its_next_attempt_refused(alone: None) -> None:
    (task_id,) = sent()
    stream.client().set(f"{CLAIM}{task_id}", "W|0|||0|0")
    moves(task_id, Status.RETRY, not_before=time.time() + 5)
    assert cancel([task_id], by="ada").revoked == 1
    assert claims.begin(str(task_id), run=RunNumber(0, 1), token="t").verdict == Verdict.CANCELLED


def test_a_retry_that_waits_in_postgres_is_revoked_and_never_sent(alone: None) -> None:
    (task_id,) = sent()
    stream.client().delete("default")
    moves(task_id, Status.RETRY, not_before=time.time() + 3600)
    Task.objects.update(held=True)
    assert cancel([task_id], by="ada").revoked == 1
    Task.objects.update(not_before=timezone.now())
    assert publish_due() == 0
    assert status(task_id) == "REVOKED"


def test_what_runs_goes_on(alone: None) -> None:
    (task_id,) = sent()
    runs(task_id)
    moves(task_id, Status.STARTED, worker="w")
    assert cancel([task_id], by="ada") == Cancelled(0, 1, 0)
    assert status(task_id) == "STARTED"
    moves(task_id, Status.SUCCESS, result="1")
    assert status(task_id) == "SUCCESS"


def test_what_runs_before_postgres_is_told_so_counts_as_running(alone: None) -> None:
    (task_id,) = sent()
    runs(task_id)
    assert cancel([task_id], by="ada") == Cancelled(0, 1, 0)


def test_what_runs_and_then_fails_is_not_tried_again(alone: None) -> None:
    (task_id,) = sent()
    runs(task_id)
    moves(task_id, Status.STARTED, worker="w")
    cancel([task_id], by="ada")
    stream.client().set(f"{CLAIM}{task_id}", "W|0|||0|0")
    moves(task_id, Status.RETRY, not_before=time.time() + 5)
    assert revoke_requested() == 1
    assert status(task_id) == "REVOKED"


@pytest.mark.parametrize("end", [Status.SUCCESS, Status.FAILURE, Status.REVOKED])
def test_what_is_finished_stays_as_it_is(alone: None, end: Status) -> None:
    (task_id,) = sent()
    moves(task_id, end)
    assert cancel([task_id], by="ada") == Cancelled(0, 0, 1)
    assert (status(task_id), Task.objects.get().cancel_requested_at) == (end.value, None)


def test_a_task_that_does_not_exist_is_counted_as_finished(alone: None) -> None:
    assert cancel([uuid4()], by="ada") == Cancelled(0, 0, 1)


def test_twice_is_once(alone: None) -> None:
    ids = sent(3)
    assert cancel(ids, by="ada") == Cancelled(3, 0, 0)
    assert cancel(ids, by="ada") == Cancelled(0, 0, 3)
    assert TaskEvent.objects.filter(status="REVOKED").count() == 3


def test_a_revoked_task_has_a_result_and_is_counted(alone: None) -> None:
    (task_id,) = sent()
    cancel([task_id], by="ada")
    assert TaskResult.objects.get().status == "REVOKED"
    with pytest.raises(TaskRevokedError):
        AsyncResult(str(task_id)).get(timeout=5)
    assert sum(MinuteRollup.objects.values_list("revoked", flat=True)) == 1


def test_thousands_of_tasks_in_every_status_are_cancelled_in_chunks(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "CHUNK", 100)
    ids = [*sent(250), *unsent(120), *sent(80, not_before=timezone.now() + timedelta(hours=1))]
    assert cancel(ids, by="ada") == Cancelled(450, 0, 0)
    assert Task.objects.filter(status="REVOKED").count() == 450


# --- Crashes and outages ---


def test_a_wish_that_a_crash_left_behind_is_carried_out(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (task_id,) = sent()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cancelling, "_revoke_on_broker", dies)
        with pytest.raises(KeyboardInterrupt):
            cancel([task_id], by="ada")
    assert (status(task_id), Task.objects.get().cancel_requested_at is not None) == ("QUEUED", True)
    assert (revoke_requested(), revoke_requested()) == (1, 0)
    assert status(task_id) == "REVOKED"
    assert claims.begin(str(task_id), run=RunNumber(0, 0), token="t").verdict == Verdict.CANCELLED


def test_a_wish_is_carried_out_also_where_the_crash_came_after_redis_was_told(alone: None) -> None:
    (task_id,) = sent()
    Task.objects.update(cancel_requested_at=timezone.now())
    claims.cancel(str(task_id))
    assert revoke_requested() == 1
    assert status(task_id) == "REVOKED"


def test_while_redis_is_away_the_wish_is_kept_and_what_is_here_is_revoked(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (queued,), (pending,) = sent(), unsent()

    def away(_: str) -> Verdict:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(claims, "cancel", away)
        with pytest.raises(redis.ConnectionError):
            cancel([queued, pending], by="ada")
    assert (status(queued), status(pending)) == ("QUEUED", "REVOKED")
    assert revoke_requested() == 1
    assert status(queued) == "REVOKED"


def test_a_cancellation_waits_for_a_relay_that_is_sending_the_task_just_now(alone: None) -> None:
    """Else the task would be revoked in its row and run by a worker."""
    (task_id,) = unsent()
    found = connection.get_connection_params()
    parameters = {name: found[name] for name in ("dbname", "user", "password", "host", "port") if found.get(name)}
    with psycopg.connect(**parameters) as relay:
        relay.execute("SELECT FROM tasks_app_task WHERE id = %s FOR UPDATE", [task_id])
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '300ms'")
        try:
            with pytest.raises(Exception, match="lock timeout"):
                cancel([task_id], by="ada")
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = 0")
    assert status(task_id) == "PENDING"


# --- With real workers ---


def touching(directory: Path, count: int) -> dict[Path, UUID]:
    """Send tasks that leave a file behind; once they are known, return their ids by the file."""
    paths = {directory / uuid4().hex: uuid4() for _ in range(count)}
    for path, task_id in paths.items():
        current_app.send_task("sample.touch", args=[str(path)], task_id=str(task_id))
    eventually(lambda: Task.objects.filter(id__in=paths.values()).count() == count)
    return paths


def test_cancelled_tasks_are_refused_by_workers_that_start_later(stack: Stack, tmp_path: Path) -> None:
    paths = touching(tmp_path, 20)
    cancelled = dict(list(paths.items())[:10])
    assert cancel(list(cancelled.values()), by="ada").revoked == 10
    worker = stack.worker("later@cancel")
    eventually(lambda: Task.objects.filter(status="SUCCESS").count() == 10)
    eventually(lambda: not messages() and not stream.client().hlen("unacked"))
    worker.stop()
    assert set(Task.objects.filter(status="REVOKED").values_list("id", flat=True)) == set(cancelled.values())
    assert set(tmp_path.iterdir()) == paths.keys() - cancelled.keys()


def test_what_runs_is_killed_by_force(worker: Process, tmp_path: Path) -> None:
    task_id = UUID(str(current_app.send_task("sample.meet", args=[str(tmp_path / "never")], task_id=str(uuid4())).id))
    eventually(lambda: Task.objects.filter(id=task_id, status="STARTED").exists())
    assert cancel([task_id], by="ada") == Cancelled(0, 1, 0)
    assert cancel([task_id], by="ada", force=True) == Cancelled(0, 1, 0)
    eventually(lambda: status(task_id) == "REVOKED", but=lambda: list(TaskEvent.objects.values_list("status", "message")))
    # The worker goes on.
    (other,) = sent()
    eventually(lambda: status(other) == "SUCCESS")


def test_what_was_reserved_when_it_was_cancelled_does_not_start(stack: Stack, worker: Process, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    busy = [UUID(str(current_app.send_task("sample.meet", args=[str(gate)]).id)) for _ in range(2)]
    eventually(lambda: Task.objects.filter(id__in=busy, status="STARTED").count() == 2)
    paths = touching(tmp_path, 6)
    assert cancel(list(paths.values()), by="ada").revoked == 6
    gate.touch()
    stack.settle()
    assert list(tmp_path.iterdir()) == [gate]
    assert Task.objects.filter(id__in=paths.values(), status="REVOKED").count() == 6
