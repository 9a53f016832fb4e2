"""Event ids follow the order of the commits: a reader that goes on "after N" never misses an event."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tasks_app.models import Task, TaskEvent
from tasks_app.queries import feed
from tasks_app.recording.events import EventRow, write_events
from tests.waiting import eventually
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status, position

pytestmark = pytest.mark.django_db(transaction=True)


def a_task() -> Task:
    return Task.objects.create(name="t", queue="q", status=Status.QUEUED, source="api", created_at=timezone.now())


def write(*rows: EventRow) -> list[int]:
    with connection.cursor() as cursor:
        return [row[0] for row in write_events(cursor, rows)]


def step(task: Task, attempt: int, status: Status = Status.STARTED) -> EventRow:
    return EventRow(task.id, status, position(attempt, 0, status), time.time())


class Writer(threading.Thread):
    """A transaction in a thread of its own."""

    def __init__(self, body: Callable[[], Any]) -> None:
        super().__init__()
        self._body = body
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._body()
        except Exception as error:
            self.error = error
        finally:
            connection.close()

    def finish(self) -> None:
        self.join(20)
        assert not self.is_alive()
        assert self.error is None


@contextmanager
def reading(readings: list[list[int]]) -> Any:
    """Read on and on, as a live page does, while the block runs and once more after it."""
    stop = threading.Event()

    def read() -> None:
        seen = feed.newest_id()
        while True:
            last = stop.is_set()
            events = feed.since(seen)
            assert events is not None
            readings.append([event.id for event in events])
            seen = events[-1].id if events else seen
            if last:
                return

    reader = Writer(read)
    reader.start()
    eventually(lambda: readings)
    try:
        yield
    finally:
        stop.set()
        reader.finish()


def test_who_writes_later_gets_the_higher_ids_also_when_both_transactions_are_open() -> None:
    early, late = a_task(), a_task()
    ids: dict[str, list[int]] = {}
    began, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            ids["first"] = write(step(early, 0))
            began.set()
            assert go_on.wait(10)

    def second() -> None:
        with transaction.atomic():
            ids["second"] = write(step(late, 0))

    one, other = Writer(first), Writer(second)
    one.start()
    assert began.wait(10)
    other.start()
    # The second waits for the first's commit before it takes a number.
    eventually(lambda: waiting_for_the_order() == 1)
    assert "second" not in ids
    go_on.set()
    one.finish()
    other.finish()
    assert max(ids["first"]) < min(ids["second"])


def waiting_for_the_order() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return int(cursor.fetchone()[0])


def test_a_reader_never_misses_an_event_of_many_concurrent_writers() -> None:
    tasks = [a_task() for _ in range(6)]
    readings: list[list[int]] = []

    def writing(task: Task) -> Callable[[], None]:
        choice = random.Random(str(task.id))

        def write_some() -> None:
            for attempt in range(30):
                with transaction.atomic():
                    write(step(task, attempt), step(task, attempt, Status.RETRY))
                    # What a transaction does after its events decides when it commits.
                    time.sleep(choice.random() * 0.004)
                    if choice.random() < 0.2:
                        transaction.set_rollback(True)

        return write_some

    with reading(readings):
        writers = [Writer(writing(task)) for task in tasks]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.finish()
    read = [event_id for ids in readings for event_id in ids]
    assert read == sorted(read)
    assert read == list(TaskEvent.objects.order_by("id").values_list("id", flat=True))
    assert len([ids for ids in readings if ids]) > 1, "everything was read at once: nothing was proved"


def test_a_step_that_is_reported_again_makes_no_second_event_and_no_id() -> None:
    task = a_task()
    assert len(write(step(task, 0), step(task, 1))) == 2
    assert write(step(task, 1), step(task, 0)) == []
    assert len(write(step(task, 1), step(task, 2))) == 1
    assert TaskEvent.objects.count() == 3


def test_events_of_one_write_keep_their_order() -> None:
    task = a_task()
    ids = write(*(step(task, attempt) for attempt in range(50)))
    attempts = [event.attempt for event in TaskEvent.objects.filter(id__in=ids).order_by("id")]
    assert attempts == list(range(1, 51))


def test_the_feed_gives_up_on_readers_that_are_too_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    task = a_task()
    monkeypatch.setattr(feed, "MAX_BEHIND", 3)
    ids = write(*(step(task, attempt) for attempt in range(4)))
    assert feed.since(ids[0] - 1) is None
    assert [event.id for event in feed.since(ids[0]) or ()] == ids[1:]


def test_the_feed_knows_how_far_back_it_reaches() -> None:
    task = a_task()
    assert feed.reaches_back_to(17)
    ids = write(*(step(task, attempt) for attempt in range(4)))
    TaskEvent.objects.filter(id__lte=ids[1]).delete()
    assert [feed.reaches_back_to(after) for after in (0, ids[0], ids[1], ids[3])] == [True, False, True, True]


def test_reading_the_feed_is_one_query_however_many_events(django_assert_num_queries: Any) -> None:
    tasks = [a_task() for _ in range(5)]
    start = feed.newest_id()
    write(*(step(task, attempt) for task in tasks for attempt in range(5)))
    with django_assert_num_queries(1):
        events = feed.since(start)
    assert events is not None
    newest = feed.newest_per_task(events)
    assert [(event.task_id, event.as_json()["attempt"]) for event in newest] == [(task.id, 5) for task in tasks]


def test_an_id_names_its_task_even_if_nobody_knows_it() -> None:
    with pytest.raises(Exception, match="violates foreign key constraint"):
        write(EventRow(new_id(), Status.STARTED, position(0, 0, Status.STARTED), time.time()))
