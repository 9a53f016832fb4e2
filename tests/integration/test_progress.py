"""How far tasks are: from the stream to the rows, in any order, and from there to the pages and the API."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.maintenance import expired
from tasks_app.models import Application, Task, TaskEvent, TaskProgress
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.task_keys import forget_applications
from tasks_app.queries.progress import progress_of
from tasks_app.recording.apply import apply
from tests.histories import START, arrivals
from tests.integration.conftest import ApiClient
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

#: Of a run.
DONE, ALL = 30, 120


def told(task_id: object, current: Any, total: Any = ALL, *, at: float | None = None, **more: Any) -> Event:
    """The report of a running task."""
    now = timezone.now().timestamp() if at is None else at
    progress = {"current": current, "total": total, "state": "PROGRESS", "meta": {"current": current}, **more.pop("progress", {})}
    values = {"started_at": now - 60, "received_at": now - 61, "worker": "w1", "name": "shop.export", "queue": "default", **more}
    return Event(task_id=str(task_id), status=Status.STARTED, at=now, progress=progress, **values)


def running(**progress: Any) -> UUID:
    """A task that is a quarter done, at two steps a second."""
    task_id = new_id()
    now = timezone.now().timestamp()
    apply([told(task_id, DONE, at=now, progress={"earlier": [now - 10, DONE - 20], "samples": 11, **progress})])
    return task_id


def kept(task_id: object) -> tuple[Any, ...]:
    row = TaskProgress.objects.get(task=str(task_id))
    return (row.run & 0xFF, row.run >> 8, row.at.timestamp(), row.current, row.total, row.state, row.meta)


# --- Recording ---


@st.composite
def reports(draw: st.DrawFn) -> list[Event]:
    """What the runs of one task tell, each at its own time; a later run may be of a clock that is behind."""
    task_id = str(new_id())
    events = []
    for attempt in range(draw(st.integers(1, 3))):
        for number in range(draw(st.integers(1, 5))):
            at = START + draw(st.integers(0, 50)) + number / 8 + attempt / 64
            events.append(told(task_id, draw(st.integers(0, 9)), 9, at=at, attempt=attempt, delivery=draw(st.integers(0, 1))))
    return events


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_newest_report_of_the_newest_run_wins_in_any_order(data: st.DataObject) -> None:
    events = data.draw(reports())
    newest = max(events, key=lambda event: (event.position >> 8, event.at, event.progress and event.progress["current"]))
    arrived = data.draw(arrivals(events))
    size = data.draw(st.integers(1, len(arrived)))
    for start in range(0, len(arrived), size):
        apply(arrived[start : start + size])
    assert newest.progress is not None
    assert kept(newest.task_id) == (
        newest.delivery, newest.attempt, newest.at, newest.progress["current"], 9, "PROGRESS", newest.progress["meta"],
    )  # fmt: skip


def test_a_report_of_progress_says_that_the_task_was_started_and_when() -> None:
    task_id = new_id()
    apply([told(task_id, 1, at=START), told(task_id, 2, at=START + 9, started_at=START - 60)])
    task = Task.objects.get(id=task_id)
    assert task.status == "STARTED"
    assert task.started_at is not None
    assert task.started_at.timestamp() == START - 60
    steps = TaskEvent.objects.filter(task=task_id).values_list("status", "at")
    assert [(status, at.timestamp()) for status, at in steps] == [("RECEIVED", START - 61), ("STARTED", START - 60)]


def test_it_stays_after_the_end_and_a_late_report_changes_no_outcome() -> None:
    task_id = new_id()
    apply([told(task_id, 1, at=START)])
    apply([Event(task_id=str(task_id), status=Status.SUCCESS, at=START + 5, result="1", worker="w1")])
    apply([told(task_id, 2, at=START + 4)])
    task = Task.objects.select_related("progress").get(id=task_id)
    assert task.status == "SUCCESS"
    view = progress_of(task)
    assert view is not None
    assert (view.current, view.pace.rate) == (2, None)


def test_a_retry_begins_anew() -> None:
    task_id = new_id()
    apply([told(task_id, 90, at=START)])
    failed = {"error_type": "ValueError", "error_message": "no"}
    apply([Event(task_id=str(task_id), status=Status.RETRY, at=START + 1, worker="w1", **failed)])
    apply([Event(task_id=str(task_id), status=Status.STARTED, at=START + 2, attempt=1, worker="w1")])
    assert progress_of(Task.objects.select_related("progress").get(id=task_id)) is None
    # By a worker whose clock is behind.
    apply([told(task_id, 5, at=START - 100, attempt=1)])
    view = progress_of(Task.objects.select_related("progress").get(id=task_id))
    assert view is not None
    assert view.current == 5


def test_what_another_task_tells_is_no_step_of_this_one() -> None:
    (task_id,) = dispatch(Dispatch(task="analyze_text", data=["x"]), Origin(source="page")).ids
    before = Task.objects.get(id=task_id).status
    apply([told(task_id, 4, at=START, progress={"by": "another"}), told(uuid4(), 4, at=START, progress={"by": "another"})])
    assert Task.objects.get(id=task_id).status == before
    assert [row.current for row in TaskProgress.objects.all()] == [4]


def test_an_application_tells_nothing_of_another_ones_task() -> None:
    florist = Application.objects.create(name="florist", kind="attached")
    forget_applications()
    (task_id,) = dispatch(Dispatch(task="analyze_text", data=["x"]), Origin(source="page")).ids
    own = told("bouquet", 1, at=START)
    stolen = told(task_id, 4, at=START, progress={"by": ""})
    for event in (own, stolen):
        event.application = "florist"
    # Its own tasks have keys of their own, and so has what it calls by the id of another's.
    apply([own, stolen], {"": NATIVE_ID, "florist": florist.id})
    assert [row.task_id for row in TaskProgress.objects.all()] == [key_of("bouquet", "florist")]


@pytest.mark.parametrize(
    "odd",
    [
        {"current": -1, "total": "many"}, {"current": float("1e300"), "total": None},
        {"meta": {"a\x00": "\x00"}, "state": "\x00"},
        {"meta": "x" * 50_000}, {"earlier": [253_402_300_799, 5], "samples": 3}, {"earlier": ["x", 5]}, {"by": 5},
        {"meta": [[[]]] * 9, "state": ["PROGRESS"]},
    ],
)  # fmt: skip
def test_an_odd_report_is_bounded_and_keeps_no_other_from_being_recorded(odd: dict[str, Any]) -> None:
    task_id, other = new_id(), new_id()
    apply([told(task_id, 1, progress=odd), told(other, 7)])
    assert TaskProgress.objects.get(task=other).current == 7
    assert Task.objects.filter(id=task_id).exists() is ("by" not in odd)


def test_it_goes_with_its_task() -> None:
    task_id = running()
    apply([Event(task_id=str(task_id), status=Status.SUCCESS, at=START, result="1")])
    Task.objects.filter(id=task_id).update(created_at=timezone.now() - timedelta(days=90))
    assert sum(expired.tasks(timedelta(days=30))) == 1
    assert not TaskProgress.objects.exists()


# --- Showing ---


def test_the_tasks_page_shows_how_far_it_is_and_what_is_left(person: Client) -> None:
    html = person.get(f"/tasks/{running(meta={'file': 'a.csv', 'password': 'hunter2'})}/").content.decode()
    assert '<progress value="25.0"' in html
    for words in ("30 of 120", "2 a second", "PROGRESS", "a.csv"):
        assert words in html
    assert re.search("about (4[0-5]|3[0-9]) s left", html)
    assert "hunter2" not in html


def test_the_list_shows_it_of_running_tasks(person: Client) -> None:
    task_id = running(state="Unpacking")
    html = person.get("/tasks/").content.decode()
    assert '<progress value="25.0"' in html
    assert "Unpacking" in html
    apply([Event(task_id=str(task_id), status=Status.SUCCESS, at=timezone.now().timestamp(), result="1")])
    assert "<progress" not in person.get("/tasks/").content.decode()
    assert "told last before it ended" in person.get(f"/tasks/{task_id}/").content.decode()


def test_a_task_that_tells_no_numbers_has_no_bar(person: Client) -> None:
    html = person.get(f"/tasks/{running(current=None, total=None, state='Packing')}/").content.decode()
    assert "Packing" in html
    assert "<progress" not in html


def test_the_api_has_it(api: ApiClient) -> None:
    task_id = running(meta={"current": DONE, "file": "a.csv"})
    quiet = new_id()
    apply([Event(task_id=str(quiet), status=Status.STARTED, at=START, name="shop.tidy")])
    client = api("read")
    progress = client.get(f"/api/v1/tasks/{task_id}").json()["progress"]
    assert 40 < progress.pop("seconds_left") <= 45
    assert progress.pop("at")
    assert progress == {
        "current": 30, "total": 120, "percent": 25.0, "state": "PROGRESS", "meta": {"file": "a.csv"}, "rate": 2.0,
    }  # fmt: skip
    listed = {item["task_id"]: item["progress"] for item in client.get("/api/v1/tasks").json()}
    assert listed[str(task_id)]["percent"] == 25.0
    assert listed[str(quiet)] is None
