"""Lists of tasks are by the time of creation: ids of a canvas and of plain producers do not follow the time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tasks_app.models.places import Place
from tasks_app.queries import lineage, workers
from tasks_app.queries.tasks import TaskFilter
from tasks_app.recording.apply import apply
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db

NEWEST_ID = "ffffffff-ffff-4fff-bfff-ffffffffffff"
OLDEST_ID = "00000000-0000-4000-8000-000000000000"


def foreign(id_: str, age: float, **given: Any) -> UUID:
    """Record a task that other code sent so many seconds ago."""
    apply(
        [
            Event(
                **{"task_id": id_, "status": Status.QUEUED, "at": time.time() - age, "name": "shop.pay", "queue": "shop", **given}
            )
        ]
    )
    return UUID(id_)


def ours() -> UUID:
    return dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 1}), Origin(source="api")).ids[0]


def listed(**asked: Any) -> list[UUID]:
    """Go through all pages of two tasks."""
    chosen, found = TaskFilter(limit=2, **asked), []
    for _ in range(20):
        page = chosen.page()
        found += [shown.task.id for shown in page.tasks]
        if page.following is None:
            return found
        chosen = page.following
    raise AssertionError(f"more than 20 pages: {found}")


@pytest.fixture
def five() -> list[UUID]:
    """Five tasks, newest first; their ids are in another order."""
    old = foreign(NEWEST_ID, 300)
    middle = foreign(str(uuid4()), 200)
    twin = foreign(OLDEST_ID, 100)
    mine = ours()
    newest = foreign("11111111-1111-4111-8111-111111111111", -5)
    return [newest, mine, twin, middle, old]


@pytest.mark.parametrize(
    "asked", [{}, {"q": "name:*"}, {"q": "queue:*"}, {"status": None, "q": "since:1h"}, {"sort": "-created"}]
)
def test_every_page_goes_on_where_the_one_before_ended(five: list[UUID], asked: dict[str, Any]) -> None:
    assert listed(**asked) == five


def test_the_oldest_first_is_the_other_way_round(five: list[UUID]) -> None:
    assert listed(sort="created") == five[::-1]


def test_a_time_is_that_of_the_creation(five: list[UUID]) -> None:
    between = (timezone.now() - timedelta(seconds=250), timezone.now() - timedelta(seconds=50))
    since, until = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in between)
    assert listed(q=f"since:{since} until:{until}") == five[2:4]
    assert listed(q=f"name:shop.pay since:{since} until:{until}") == five[2:4]
    assert listed(q=f"until:{since}") == five[4:]


def test_tasks_of_one_moment_are_in_the_order_of_their_ids() -> None:
    ids = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 1}, count=7), Origin(source="api")).ids
    assert listed() == sorted(ids, reverse=True)
    assert listed(q="name:drill_sleep") == sorted(ids, reverse=True)


def test_a_report_of_an_earlier_step_moves_a_task_to_its_place(five: list[UUID]) -> None:
    foreign("11111111-1111-4111-8111-111111111111", 250)
    assert listed() == [*five[1:4], five[0], five[4]]


def test_the_overview_the_api_a_worker_and_a_parent_list_the_newest_first(five: list[UUID]) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a long enough one"))
    page = client.get("/").content.decode()
    assert sorted(five, key=lambda id_: page.index(str(id_))) == five
    answer = client.get("/tasks/all?limit=3")
    assert [task["task_id"] for task in answer.json()] == [str(id_) for id_ in five[:3]]

    parent = foreign(str(uuid4()), 400)
    for id_ in (NEWEST_ID, OLDEST_ID):
        Task.objects.filter(id=id_).update(parent_id=parent, worker="w1", status=Status.SUCCESS, finished_at=timezone.now())
    assert [task.id for task in workers.tasks_of("w1", 5)] == [UUID(OLDEST_ID), UUID(NEWEST_ID)]
    assert [child.id for child in lineage.lineage(Task.objects.get(id=parent)).children] == [UUID(OLDEST_ID), UUID(NEWEST_ID)]


@pytest.mark.parametrize("moment", ["1970-01-01T00:00:00+00:00", "1969-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59+00:00"])
def test_a_cursor_names_a_place_to_the_microsecond(moment: str) -> None:
    place = Place(datetime.fromisoformat(moment), uuid4())
    assert Place.of_cursor(place.cursor) == place


@pytest.mark.parametrize("cursor", ["A" * 31, "A" * 33, "!" * 32, "f" * 32])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError, match="is not a cursor"):
        Place.of_cursor(cursor)
