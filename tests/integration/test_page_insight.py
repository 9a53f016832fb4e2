"""The pages of events and analytics: what they show, filters in the address, files, and how few queries they take."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.states import Status
from tasks_app.tracking import stream
from tasks_app.tracking.apply import apply
from tasks_app.tracking.stream import Event
from tasks_app.web.charts import Series, chart

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def person() -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(User.objects.create_user("vera", password="a long enough one"))
    return client


def ended(count: int = 1, status: Status = Status.SUCCESS, **asked: Any) -> list[UUID]:
    ids = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, count=count, **asked), Origin(source="api")).ids
    now = time.time()
    apply(
        [
            Event(task_id=str(id_), status=status, at=now, worker="w1", started_at=now - 1, runtime=1.0, result="1", message="x")
            for id_ in ids
        ]
    )
    return ids


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_without_anything_both_pages_say_so(person: Client) -> None:
    assert "Nothing has happened yet" in text(person, "/events/")
    assert "No task ended in this time" in text(person, "/analytics/")


def test_events_are_filtered_by_the_address(person: Client) -> None:
    (first,) = ended(queue="reports")
    (other,) = ended()
    assert f"/tasks/{first}/" in text(person, "/events/?queue=reports")
    assert f"/tasks/{other}/" not in text(person, "/events/?queue=reports")
    assert "Nothing matches the filter" in text(person, "/events/?worker=nobody")


def test_a_filter_that_cannot_be_is_said_calmly(person: Client) -> None:
    assert 'role="alert"' in text(person, "/events/?status=GONE")


def test_a_paused_page_is_not_read_again(person: Client) -> None:
    ended()
    assert "data-refetch" in text(person, "/events/").split('id="events"')[1][:80]
    assert "data-refetch" not in text(person, "/events/?paused=1").split('id="events"')[1][:80]


def test_events_go_on_to_older_ones_and_into_a_file(person: Client) -> None:
    ended(60)
    first = person.get("/events/")
    second = person.get(f"/events/{first.context['next_url']}")
    shown = [event.id for page in (first, second) for event in page.context["events"]]
    assert shown == sorted(shown, reverse=True)
    saved = json.loads(person.get("/events/?format=json").getvalue())
    assert [row["id"] for row in saved][: len(shown)] == shown


def test_figures_are_shown_with_links_to_what_they_count(person: Client) -> None:
    ended(3)
    ended(1, Status.FAILURE)
    page = text(person, "/analytics/?window=1h")
    assert "4 finished, 75 % succeeded" in page
    assert "q=name%3Adrill_sleep+since%3A1h" in page
    assert "status=FAILURE" in page
    assert "0 finished" in text(person, "/analytics/?task=another")


@pytest.mark.parametrize("query", ["", "?window=15m", "?window=30d&task=drill_sleep&sort=failing", "?window=nonsense&sort=x"])
def test_any_window_is_a_page_of_few_queries(person: Client, query: str, django_assert_max_num_queries: Any) -> None:
    ended(2)
    with django_assert_max_num_queries(12):
        text(person, f"/analytics/{query}")


def test_the_series_is_a_file(person: Client) -> None:
    ended(2)
    rows = json.loads(person.get("/analytics/?window=15m&format=json").getvalue())
    assert sum(row["succeeded"] for row in rows) == 2


def test_a_chart_has_a_scale_of_round_numbers_and_breaks_where_nothing_is_known() -> None:
    times = [datetime(2030, 1, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(4)]
    drawn = chart("x", "X", times, [Series("a", "line", [1.0, None, 3.0, 4.0])], lambda value: f"{value}")
    assert [tick.label for tick in drawn.y_ticks] == ["0.0", "2.5", "5.0"]
    assert drawn.lines[0].path.count("M") == 2
    assert (len(drawn.rows), drawn.lines[0].last, drawn.empty) == (4, "4.0", False)
    assert chart("x", "X", times, [Series("a", "line", [None, 0.0, None, None])], str).empty
