"""What attempts used: stored with each, shown on the task's page and in the API, and in percentiles by task name."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from tasks_app.analytics import rollups
from tasks_app.analytics.rollups import RollupFilter
from tasks_app.analytics.window import TimeWindow
from tasks_app.maintenance.compaction import compact
from tasks_app.models import Application, Attempt, MinuteRollup, PeriodRollup, Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.task_keys import forget_applications
from tasks_app.recording.apply import apply
from tests.integration.conftest import ApiClient
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

MEGABYTE = 2**20


def ended(status: Status = Status.SUCCESS, task_id: UUID | None = None, at: float | None = None, **more: Any) -> UUID:
    """A task whose newest attempt ended."""
    task_id = task_id or new_id()
    at = time.time() if at is None else at
    values = {"name": "shop.export", "queue": "default", "worker": "w1", "started_at": at - 2, "received_at": at - 3, **more}
    apply([Event(task_id=str(task_id), status=status, at=at, **values)])
    return task_id


def test_each_attempt_has_what_it_used(person: Client, api: ApiClient) -> None:
    error = {"error_type": "MemoryError", "error_message": "too much"}
    task_id = ended(Status.RETRY, cpu=1.5, memory=900 * MEGABYTE, **error)
    ended(Status.SUCCESS, task_id, attempt=1, cpu=0.25, memory=80 * MEGABYTE, runtime=2.0, result="1")
    task = Task.objects.get(id=task_id)
    assert (task.cpu, task.memory) == (0.25, 80 * MEGABYTE)
    assert [(row.cpu, row.memory) for row in Attempt.objects.all()] == [(1.5, 900 * MEGABYTE)]
    html = person.get(f"/tasks/{task_id}/").content.decode()
    for words in ("CPU 1.5 s", "memory 900 MB", "CPU 250 ms", "memory 80 MB"):
        assert words in html
    answer = api("read").get(f"/api/v1/tasks/{task_id}").json()
    assert (answer["cpu_seconds"], answer["memory_bytes"]) == (0.25, 80 * MEGABYTE)
    assert [(run["cpu_seconds"], run["memory_bytes"]) for run in answer["runs"]] == [
        (0.25, 80 * MEGABYTE), (1.5, 900 * MEGABYTE),
    ]  # fmt: skip


def test_of_a_watched_application_its_page_says_that_events_do_not_tell(person: Client) -> None:
    watched = Application.objects.create(name="florist", kind="watched")
    forget_applications()
    event = Event(task_id="bouquet", status=Status.STARTED, at=time.time(), name="florist.bind", worker="w1")
    event.application = "florist"
    apply([event], {"": NATIVE_ID, "florist": watched.id})
    html = person.get(f"/tasks/{Task.objects.get().id}/").content.decode()
    assert "events tell neither how far a task is nor what it used" in html


def test_percentiles_by_task_name(person: Client, api: ApiClient) -> None:
    for number in range(1, 21):
        ended(cpu=number / 10, memory=number * 10 * MEGABYTE, runtime=3.0, result="1")
    ended(name="shop.tidy", runtime=1.0, result="1")
    rows = {row["name"]: row for row in api("read").get("/api/v1/analytics/tasks").json()["rows"]}
    export, tidy = rows["shop.export"], rows["shop.tidy"]
    assert export["cpu_mean"] == pytest.approx(1.05)
    # A bucket's ends are apart by the square root of two.
    assert 1.0 / 1.42 < export["cpu_p50"] < 1.0 * 1.42
    assert 190 / 1.42 < export["memory_p95"] / MEGABYTE < 190 * 1.42
    assert [tidy[name] for name in ("cpu_mean", "cpu_p50", "cpu_p95", "memory_p50", "memory_p95")] == [None] * 5
    html = person.get("/analytics/").content.decode()
    assert "Memory p50" in html
    assert " MB</td>" in html
    assert "cpu_p95_seconds" in b"".join(person.get("/analytics/?format=csv&list=task")).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", [0, 1, MEGABYTE, 2**45, 2**59])
def test_any_memory_is_counted(memory: int) -> None:
    ended(cpu=0.0, memory=memory, runtime=1.0, result="1")
    row = MinuteRollup.objects.get()
    assert sum(row.memory_histogram) == sum(row.cpu_histogram) == 1


def test_what_nobody_tells_takes_no_room_and_is_added_to() -> None:
    at = time.time()
    ended(runtime=1.0, result="1", at=at)
    row = MinuteRollup.objects.get()
    assert (row.cpu_histogram, row.memory_histogram, row.cpu_seconds) == ([], [], 0.0)
    for _ in range(2):
        ended(runtime=1.0, result="1", at=at, cpu=0.5, memory=MEGABYTE)
    ended(runtime=1.0, result="1", at=at)
    row = MinuteRollup.objects.get()
    assert (sum(row.runtime_histogram), sum(row.cpu_histogram), sum(row.memory_histogram), row.cpu_seconds) == (4, 2, 2, 1.0)


def test_it_is_summed_up_with_the_rest() -> None:
    at = time.time() // 900 * 900 - 7200
    ended(runtime=1.0, result="1", at=at + 1, cpu=0.5, memory=50 * MEGABYTE)
    ended(runtime=1.0, result="1", at=at + 100, cpu=1.5, memory=70 * MEGABYTE)
    ended(name="shop.tidy", runtime=1.0, result="1", at=at + 1)
    window = TimeWindow(int(at), int(at) + 1800, 60)
    before = rollups.by_task(window, RollupFilter())
    while compact():
        pass
    assert PeriodRollup.objects.filter(seconds=900).exists()
    assert PeriodRollup.objects.filter(name="shop.tidy", seconds=900).get().cpu_histogram == []
    after = rollups.by_task(window, RollupFilter())
    assert after == before
    assert after["shop.export"].cpu_seconds == 2.0
    added = after["shop.export"] + after["shop.tidy"]
    assert (sum(added.cpus), sum(added.memories)) == (2, 2)
