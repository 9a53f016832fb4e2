"""A long back-off on a real worker: the next attempt waits in PostgreSQL, and nothing of it in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from tasks_app.dispatch.create import write_tasks
from tasks_app.dispatch.rows import NewTask
from tasks_app.models import Application, Attempt, Batch, Task, TaskEvent
from tasks_app.recording.apply import apply
from tests import stack as stacks
from tests.failures import failure, queued
from tests.stack import Stack
from tests.waiting import eventually
from zenith_worker.wire.client import client
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status, position

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(tmp_path_factory.mktemp("held"), ZENITH_TASK_MODULES="tests.sample_tasks"):
        stack.engine()
        stack.worker("held@tests", concurrency=1)
        yield stack


@pytest.fixture
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    yield from stacks.settling(module_stack)


def dispatch_patient() -> Task:
    """Dispatch `sample.patient`, which only the worker knows: past the catalogue."""
    new = NewTask(new_id(), "default", "[]", "{}", None, 3)
    with transaction.atomic():
        batch = Batch.objects.create(task_name="sample.patient", size=1, source="api", created_at=timezone.now())
        write_tasks(batch, [new], Application.native())
    return Task.objects.get(id=new.id)


def test_it_waits_in_postgresql_and_runs_again_when_it_is_due(stack: Stack) -> None:
    task = dispatch_patient()
    eventually(lambda: Task.objects.filter(id=task.id, status=Status.RETRY, held=True).exists())
    task.refresh_from_db()
    assert task.not_before is not None
    assert task.not_before > timezone.now() + timedelta(minutes=1)
    # The worker acknowledges right after it reported.
    eventually(lambda: not client().llen("default") and not client().hlen("unacked"))

    Task.objects.filter(id=task.id).update(not_before=timezone.now())
    eventually(lambda: Task.objects.filter(id=task.id, status=Status.SUCCESS).exists())
    task.refresh_from_db()
    assert (task.attempt, task.held) == (2, False)
    steps = [(event.attempt, event.status) for event in TaskEvent.objects.filter(task=task).order_by("position")]
    assert [step for step in steps if step[1] in ("QUEUED", "RETRY", "SUCCESS")] == [
        (1, "QUEUED"), (1, "RETRY"), (2, "QUEUED"), (2, "SUCCESS"),
    ]  # fmt: skip
    kept = Attempt.objects.get(task=task)
    assert (kept.error_type, kept.outcome) == ("ConnectionError", "RETRY")
    assert "celery.exceptions.Retry" not in kept.traceback


def held(task: Task) -> Event:
    event = failure(task)
    return replace(event, status=Status.RETRY, result=None, not_before=event.at + 900, held=True)


def test_a_retry_that_its_worker_sent_itself_is_not_held() -> None:
    task = queued()
    apply([replace(held(task), held=False)])
    assert Task.objects.get(id=task.id).held is False


def test_a_late_report_does_not_hold_what_was_sent_on_meanwhile() -> None:
    task = queued()
    apply([held(task)])
    assert Task.objects.get(id=task.id).held is True
    Task.objects.filter(id=task.id).update(status=Status.QUEUED, held=False, position=position(1, 0, Status.QUEUED))
    apply([held(task)])
    assert Task.objects.get(id=task.id).held is False
