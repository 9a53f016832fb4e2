"""Attempts: each run that went wrong is kept, with its own error; long back-offs wait in PostgreSQL."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch import publish
from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.queries.attempts import attempts_of
from tasks_app.recording.apply import apply
from tests.failures import failure, queued, succeed
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status, position

pytestmark = pytest.mark.django_db

RETRY = """Traceback (most recent call last):
  File "/srv/shop/billing/tasks.py", line 12, in charge
CardError: declined

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/celery/app/task.py", line 700, in retry
celery.exceptions.Retry: Retry in 2.0s: CardError('declined')
"""


def retried(task: Task, attempt: int, **values: Any) -> Event:
    event = failure(task, message=f"declined {attempt}", attempt=attempt, worker=f"w{attempt}@host")
    return replace(event, status=Status.RETRY, result=None, not_before=event.at + 2, traceback=RETRY, **values)


def test_every_failed_run_is_kept_with_its_own_error_worker_and_times() -> None:
    task = queued()
    first, second = retried(task, 0), retried(task, 1)
    apply([first])
    apply([second, failure(task, message="for good", attempt=2)])
    rows = list(Attempt.objects.order_by("id"))
    assert [(row.attempt, row.outcome, row.worker, row.error_message) for row in rows] == [
        (1, "RETRY", "w0@host", "declined 0"), (2, "RETRY", "w1@host", "declined 1"), (3, "FAILURE", "w1@host", "for good"),
    ]  # fmt: skip
    assert rows[0].error_type == "CardError"
    assert rows[0].started_at is not None
    assert (rows[0].finished_at - rows[0].started_at).total_seconds() == pytest.approx(1, abs=0.01)
    assert "billing/tasks.py" in rows[2].traceback


def test_a_retrys_traceback_is_the_tasks_own() -> None:
    apply([retried(queued(), 0)])
    text = Attempt.objects.get().traceback
    assert text.endswith("CardError: declined\n")
    assert "Retry" not in text


def test_a_run_reported_twice_is_one_row() -> None:
    event = retried(queued(), 0)
    apply([event, event])
    apply([event])
    assert Attempt.objects.count() == 1


def test_another_delivery_of_the_same_attempt_is_a_row_of_its_own() -> None:
    task = queued()
    apply([failure(task, delivery=0), failure(task, delivery=1)])
    assert list(Attempt.objects.values_list("delivery", flat=True)) == [0, 1]


def test_a_task_that_succeeds_at_once_writes_no_row() -> None:
    task = queued()
    succeed(task.id)
    assert not Attempt.objects.exists()


def test_a_cancellation_without_an_error_writes_no_row() -> None:
    task = queued()
    apply([Event(task_id=str(task.id), status=Status.REVOKED, at=time.time())])
    assert not Attempt.objects.exists()


def test_absurd_numbers_do_not_stop_the_recorder() -> None:
    task = queued()
    apply([failure(task, attempt=2**33, delivery=2**40)])
    assert Attempt.objects.get().delivery == 0xFF


def test_the_running_attempt_is_listed_first_and_in_one_query(django_assert_num_queries: Any) -> None:
    task = queued()
    now = time.time()
    apply([retried(task, 0)])
    apply([Event(task_id=str(task.id), status=Status.STARTED, at=now, attempt=1, worker="w9@host", received_at=now)])
    task.refresh_from_db()
    with django_assert_num_queries(1):
        views = attempts_of(task)
    assert [(view.attempt, view.status, view.worker) for view in views] == [(2, "STARTED", "w9@host"), (1, "RETRY", "w0@host")]
    assert (views[0].finished_at, views[0].seconds) == (None, None)
    assert views[1].seconds == pytest.approx(1, abs=0.01)


def test_each_delivery_that_was_lost_is_a_run_with_an_end_of_its_own() -> None:
    task = queued()
    now, died = time.time(), "its process died (signal 9); the message went back to its queue"
    for delivery in range(2):
        at = {"attempt": 0, "delivery": delivery, "worker": f"w{delivery}@host"}
        apply([Event(task_id=str(task.id), status=Status.STARTED, at=now + delivery, received_at=now, **at)])
        back = {"status": Status.QUEUED, "at": now + delivery + 0.5, "message": died}
        apply([Event(task_id=str(task.id), attempt=0, delivery=delivery + 1, **back)])
    apply([Event(task_id=str(task.id), status=Status.RECEIVED, at=now + 3, delivery=2, worker="w2@host")])
    task.refresh_from_db()
    views = attempts_of(task, TaskEvent.objects.filter(task=task))
    assert [(view.delivery, view.status, view.worker, view.error_message) for view in views] == [
        (2, "RECEIVED", "w2@host", ""), (1, "QUEUED", "w1@host", died), (0, "QUEUED", "w0@host", died)
    ]  # fmt: skip
    assert [view.seconds for view in views] == [None, pytest.approx(0.5, abs=0.01), pytest.approx(0.5, abs=0.01)]


def test_a_message_that_nobody_had_when_it_was_sent_again_is_no_run() -> None:
    task = queued()
    apply([Event(task_id=str(task.id), status=Status.QUEUED, at=time.time(), delivery=1, message="its message was lost")])
    apply([Event(task_id=str(task.id), status=Status.RECEIVED, at=time.time(), delivery=1, worker="w1@host")])
    task.refresh_from_db()
    assert [view.delivery for view in attempts_of(task, TaskEvent.objects.filter(task=task))] == [1]


def test_the_attempt_that_succeeded_is_listed_too() -> None:
    task = queued()
    succeed(task.id)
    task.refresh_from_db()
    assert [(view.attempt, view.status) for view in attempts_of(task)] == [(1, "SUCCESS")]


def test_a_task_that_no_worker_has_seen_has_no_attempts() -> None:
    assert attempts_of(queued()) == []


def test_the_last_failure_is_listed_once() -> None:
    task = queued()
    apply([failure(task)])
    task.refresh_from_db()
    assert [(view.attempt, view.status, bool(view.traceback)) for view in attempts_of(task)] == [(1, "FAILURE", True)]


def test_the_page_shows_each_attempt_with_its_error(admin: Any) -> None:
    task = queued()
    apply([retried(task, 0), failure(task, message="<b>for good</b>", attempt=1)])
    client = Client()
    client.force_login(admin)
    page = client.get(f"/tasks/{task.id}/").content.decode()
    section = page[page.index('id="attempts-title"') :]
    assert "CardError: declined 0" in section
    assert "CardError: &lt;b&gt;for good&lt;/b&gt;" in section
    # The newest has a card of its own, before everything else.
    assert "traceback above" in section
    assert page.index('id="traceback"') < page.index('id="path"')
    assert section.count("<summary>traceback</summary>") == 1


# --- Long back-offs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting() -> Task:
    """A task whose second retry waits in PostgreSQL, and is due."""
    return queued(
        name="billing.charge", queue="held", kwargs={"customer": 7}, status=Status.RETRY, held=True,
        position=position(1, 0, Status.RETRY), not_before=timezone.now() - timedelta(seconds=1),
        worker="w1@host", started_at=timezone.now(), error_type="CardError", error_message="declined",
    )  # fmt: skip


@pytest.fixture
def messages() -> Any:
    """What lies in the queue `held`, emptied afterwards."""
    from celery import current_app

    def read() -> list[Any]:
        return [json.loads(raw) for raw in redis_client().lrange("held", 0, -1)]

    with current_app.connection_for_write() as connection:
        connection.default_channel.queue_delete("held")
    redis_client().delete("held")
    yield read
    redis_client().delete("held")


def test_a_held_retry_that_is_due_is_sent_as_the_next_attempt(waiting: Task, messages: Any) -> None:
    assert publish.publish_due() == 1
    (message,) = messages()
    assert message["headers"]["id"] == str(waiting.id)
    assert message["headers"]["retries"] == 2
    waiting.refresh_from_db()
    assert (waiting.status, waiting.held, waiting.position) == ("QUEUED", False, position(2, 0, Status.QUEUED))
    assert (waiting.worker, waiting.started_at, waiting.error_type) == ("", None, "")
    assert [(event.status, event.attempt) for event in TaskEvent.objects.filter(task=waiting)] == [("QUEUED", 3)]


def test_it_is_sent_once(waiting: Task, messages: Any) -> None:
    publish.publish_due()
    assert publish.publish_due() == 0
    assert len(messages()) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"not_before": timezone.now() + timedelta(hours=1)},
        {"held": False},
        {"status": Status.REVOKED, "finished_at": timezone.now()},
    ],
    ids=["not due", "waits at a worker", "cancelled"],
)
def test_what_is_not_due_here_is_not_sent(waiting: Task, messages: Any, values: dict[str, Any]) -> None:
    Task.objects.filter(id=waiting.id).update(**values)
    assert publish.publish_due() == 0
    assert messages() == []
