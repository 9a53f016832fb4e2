"""How long a queued task is going to wait, from what is before it: read from rows, rollups and heartbeats."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import MinuteRollup, Task
from tasks_app.queries.status_explanation import explain_status
from tasks_app.search import planner
from tasks_app.search.index_scan import Index
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def ran(name: str, seconds: float, *, times: int = 10, minutes_ago: int = 10) -> None:
    """Note that tasks of a name ended lately."""
    MinuteRollup.objects.create(
        minute=timezone.now() - timedelta(minutes=minutes_ago), name=name, queue="default", succeeded=times,
        runtime_seconds=seconds * times, runtime_histogram=[],
    )  # fmt: skip


def queued(name: str = "drill_sleep", count: int = 1) -> list[Task]:
    ids = dispatch(
        Dispatch(task=name, data=["text" if name == "analyze_text" else 1.0] * count, queue="slow"), Origin(source="api")
    ).ids
    Task.objects.filter(id__in=ids).update(status=Status.QUEUED)
    return list(Task.objects.filter(id__in=ids).order_by("id"))


def at_worker(name: str, status: Status, *, started: float | None = None) -> None:
    [task] = queued(name)
    at = None if started is None else timezone.now() - timedelta(seconds=started)
    Task.objects.filter(id=task.id).update(status=status, worker="w1", started_at=at)


def worker(slots: int = 1) -> None:
    heartbeat.write("w1", slots=slots, busy=slots, queues=["slow"])


def test_a_queue_that_was_fast_until_a_long_task_came_is_slow() -> None:
    ran("drill_sleep", 0.1, times=3000, minutes_ago=1)
    ran("analyze_text", 60.0)
    worker()
    at_worker("analyze_text", Status.STARTED, started=0)
    *_, last = queued(count=10)
    assert explain_status(last) == "Waiting behind 9 others in the queue slow. Expected to start in about 61 s."


def test_what_workers_have_reserved_is_before_it_and_their_slots_share_it() -> None:
    ran("drill_sleep", 60.0)
    worker(slots=2)
    for _ in range(2):
        at_worker("drill_sleep", Status.RECEIVED)
    *_, last = queued(count=7)
    assert explain_status(last) == "Waiting behind 6 others in the queue slow. Expected to start in about 4 min."


def test_of_a_kind_that_has_not_ended_lately_nobody_says_how_long_it_takes() -> None:
    ran("drill_sleep", 60.0, minutes_ago=90)
    worker()
    *_, last = queued(count=3)
    assert explain_status(last) == "Waiting behind 2 others in the queue slow."


def test_what_runs_for_longer_than_usual_makes_it_a_lower_bound() -> None:
    ran("drill_sleep", 1.0)
    worker()
    at_worker("drill_sleep", Status.STARTED, started=300)
    [task] = queued()
    assert explain_status(task) == "Next in the queue slow; all its workers are busy. Expected to start in at least 5 min."


def test_what_is_before_it_is_counted_also_where_there_are_too_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "_PAIRS", Index(("name", "queue"), 0))
    ran("drill_sleep", 60.0)
    worker()
    *_, last = queued(count=4)
    assert explain_status(last) == "Waiting behind 3 others in the queue slow."


def test_other_queues_and_later_tasks_are_not_before_it() -> None:
    ran("drill_sleep", 2.0)
    worker()
    first, second, *_ = queued(count=5)
    Task.objects.filter(id=first.id).update(queue="other")
    assert explain_status(second) == "Next in the queue slow; all its workers are busy."
