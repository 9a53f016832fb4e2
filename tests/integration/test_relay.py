"""The relay sends what a crash left behind and what has come due, and two of them share the work."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tasks_app.dispatch import create, relay
from tasks_app.dispatch.create import Dispatch, Dispatched, Origin, dispatch
from tasks_app.dispatch.publish import publish_due
from tasks_app.models import Task, TaskEvent
from tests.broker import messages
from tests.database import end_other_connections
from tests.waiting import eventually
from zenith_worker.wire import stream
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@contextmanager
def relays(count: int = 1) -> Iterator[None]:
    """Run some relays in threads, as engines do, and end them."""
    stop = threading.Event()

    def run() -> None:
        try:
            relay.run(stop)
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
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes dispatches whose process died between its commit and its messages."""

    def make(count: int) -> Dispatched:
        with monkeypatch.context() as crashing:
            crashing.setattr(create, "publish_batch", lambda batch_id: 0)
            return dispatch(sleeps(count), Origin(source="api"))

    return make


def sleeps(count: int = 1, **more: Any) -> Dispatch:
    return Dispatch(task="drill_sleep", count=count, kwargs={"seconds": 0.0}, **more)


def statuses() -> Counter[str]:
    return Counter(Task.objects.values_list("status", flat=True))


def test_what_a_crash_left_behind_is_sent(left_behind: Any) -> None:
    done = left_behind(3)
    assert statuses() == {"PENDING": 3}
    with relays():
        eventually(lambda: statuses() == {"QUEUED": 3})
    assert {message.id for message in messages()} == {str(item) for item in done.ids}


def test_a_task_is_sent_when_it_is_due_and_not_before() -> None:
    due = timezone.now() + timedelta(seconds=1)
    soon = dispatch(sleeps(not_before=due), Origin(source="api"))
    later = dispatch(sleeps(not_before=due + timedelta(hours=1)), Origin(source="api"))
    with relays():
        eventually(lambda: statuses() == {"QUEUED": 1, "SCHEDULED": 1})
    assert [message.id for message in messages()] == [str(soon.ids[0])]
    sent = TaskEvent.objects.get(task_id=soon.ids[0], status=Status.QUEUED)
    assert sent.at >= due
    assert Task.objects.get(id=later.ids[0]).queued_at is None


def test_two_relays_share_the_work_and_send_nothing_twice(left_behind: Any) -> None:
    done = left_behind(2500)
    with relays(2):
        eventually(lambda: statuses() == {"QUEUED": 2500})
    assert Counter(message.id for message in messages()) == Counter(str(item) for item in done.ids)


def test_a_relay_passes_by_what_another_one_holds(left_behind: Any) -> None:
    held, free = left_behind(1), left_behind(1)
    with transaction.atomic():
        Task.objects.select_for_update().get(id=held.ids[0])
        with relays():
            eventually(lambda: len(messages()) == 1)
    assert [message.id for message in messages()] == [str(free.ids[0])]
    assert publish_due() == 1
    assert {message.id for message in messages()} == {str(held.ids[0]), str(free.ids[0])}


def test_a_relay_survives_a_broken_database_connection(left_behind: Any) -> None:
    with relays():
        end_other_connections()
        left_behind(2)
        eventually(lambda: statuses() == {"QUEUED": 2})


def test_looking_for_due_tasks_is_two_small_queries_when_there_are_none() -> None:
    from django.test.utils import CaptureQueriesContext

    dispatch(sleeps(20), Origin(source="api"))
    with CaptureQueriesContext(connection) as queries:
        assert publish_due() == 0
    assert [query["sql"].split()[0] for query in queries] == ["BEGIN", "SELECT", "COMMIT", "WITH"]
