"""Tasks for later: held in PostgreSQL for years, moved and cancelled until they are due, then sent in time and once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections
from django.utils import timezone

from tasks_app.dispatch import publish
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.publish import publish_due
from tasks_app.dispatch.schedule import reschedule
from tasks_app.models import Task, TaskEvent
from tests import stack as stacks
from tests.broker import messages
from tests.stack import Stack
from tests.waiting import eventually
from zenith_worker.wire import stream
from zenith_worker.wire.headers import DISPATCHED_HEADER, PERHAPS_SENT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alone() -> None:
    """No process but this one."""
    stream.client().flushdb()


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(tmp_path_factory.mktemp("schedule")):
        stack.engine("engine1")
        stack.engine("engine2")
        stack.worker("first@schedule")
        yield stack


@pytest.fixture
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    yield from stacks.settling(module_stack)


def later(when: datetime, count: int = 1, **more: Any) -> list[UUID]:
    """The ids of some tasks for later."""
    asked = Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, count=count, not_before=when, **more)
    return dispatch(asked, Origin(source="api")).ids


def becomes_due() -> None:
    Task.objects.update(not_before=timezone.now() - timedelta(milliseconds=1))


# --- Holding ---


@pytest.mark.parametrize("when", [timedelta(minutes=1), datetime(2094, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)])
def test_a_task_for_later_is_held_until_then(alone: None, when: datetime | timedelta) -> None:
    # Counted from the test's own start: the suite may have run for minutes before it.
    when = timezone.now() + when if isinstance(when, timedelta) else when
    (task_id,) = later(when)
    assert publish_due() == 0
    task = Task.objects.get(id=task_id)
    assert (task.status, task.not_before, task.queued_at) == ("SCHEDULED", when, None)
    assert messages() == []


def test_a_task_for_a_moment_that_is_past_is_sent_at_once(alone: None) -> None:
    later(timezone.now() - timedelta(days=3))
    assert Task.objects.get().status == "QUEUED"
    assert len(messages()) == 1


def test_a_task_that_is_due_is_sent_once_with_both_steps_on_its_timeline(alone: None) -> None:
    (task_id,) = later(timezone.now() + timedelta(hours=1))
    becomes_due()
    assert (publish_due(), publish_due()) == (1, 0)
    (message,) = messages()
    assert (message.id, message.headers.get("eta")) == (str(task_id), None)
    steps = TaskEvent.objects.order_by("position").values_list("status", flat=True)
    assert list(steps) == ["SCHEDULED", "PENDING", "QUEUED"]


def test_a_message_that_a_relay_sent_says_that_it_may_be_a_copy(alone: None) -> None:
    """A relay may have died after sending it: its worker asks an engine before it runs."""
    later(timezone.now() + timedelta(hours=1))
    becomes_due()
    publish_due()
    dispatch(Dispatch(task="analyze_text", data="x"), Origin(source="api"))
    assert [message.headers[DISPATCHED_HEADER] for message in messages()] == [PERHAPS_SENT, 1]


def test_relays_at_the_same_moment_send_each_task_once(alone: None) -> None:
    later(timezone.now() + timedelta(hours=1), count=300)
    becomes_due()
    together = threading.Barrier(3)
    sent: list[int] = []

    def relays() -> None:
        together.wait(30)
        try:
            while count := publish_due(limit=50):
                sent.append(count)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=relays) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(sent) == 300
    assert len({message.id for message in messages()}) == len(messages()) == 300


def test_a_relay_that_fails_to_mark_what_it_sent_sends_it_again(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    later(timezone.now() + timedelta(hours=1))
    becomes_due()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_mark_queued", dies)
        with pytest.raises(KeyboardInterrupt):
            publish_due()
    assert Task.objects.get().status == "SCHEDULED"
    assert publish_due() == 1
    assert len({message.id for message in messages()}) == 1


# --- Moving ---


def test_a_scheduled_task_is_moved_both_ways(alone: None) -> None:
    (task_id,) = later(timezone.now() + timedelta(hours=1))
    year = timezone.now() + timedelta(days=365)
    assert reschedule(task_id, year)
    assert Task.objects.get().not_before == year
    assert publish_due() == 0
    assert reschedule(task_id, timezone.now() - timedelta(seconds=1))
    assert publish_due() == 1


def test_what_was_sent_or_cancelled_or_never_was_is_not_moved(alone: None) -> None:
    soon, gone = later(timezone.now() + timedelta(hours=1)), later(timezone.now() + timedelta(hours=1))
    Task.objects.filter(id__in=soon).update(not_before=timezone.now())
    publish_due()
    cancel(gone, by="ada")
    year = timezone.now() + timedelta(days=365)
    assert [reschedule(task_id, year) for task_id in (*soon, *gone, uuid4())] == [False, False, False]
    assert not Task.objects.filter(not_before=year).exists()


# --- With two engines and a worker ---


def test_each_task_is_sent_within_a_second_of_its_time_and_runs_once(stack: Stack) -> None:
    when = timezone.now() + timedelta(seconds=2)
    ids = [task_id for step in range(20) for task_id in later(when + timedelta(seconds=step / 10))]
    eventually(lambda: Task.objects.filter(id__in=ids, status="SUCCESS").count() == len(ids))
    late = [task.queued_at - task.not_before for task in Task.objects.filter(id__in=ids) if task.queued_at and task.not_before]
    assert len(late) == len(ids)
    assert timedelta(0) <= min(late)
    # The middle one: a machine that stands still for a moment makes some late that nothing could have sent in time.
    assert sorted(late)[len(late) // 2] < timedelta(seconds=1)
    starts = TaskEvent.objects.filter(task_id__in=ids, status="STARTED")
    assert starts.count() == len(ids)


def test_a_task_that_is_moved_again_and_again_runs_once_at_its_last_time(stack: Stack) -> None:
    (task_id,) = later(timezone.now() + timedelta(hours=1))
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert reschedule(task_id, timezone.now() + timedelta(seconds=30))
        time.sleep(0.02)
    assert reschedule(task_id, timezone.now())
    eventually(lambda: Task.objects.get(id=task_id).status == "SUCCESS")
    assert TaskEvent.objects.filter(task_id=task_id, status="QUEUED").count() == 1
