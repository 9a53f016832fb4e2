"""The pages of events and analytics: what they show, filters in the address, files, and how few queries they take."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape

from tasks_app.analytics.figures import Order, summaries, summary
from tasks_app.analytics.rollups import RollupFilter, Totals
from tasks_app.analytics.window import TimeWindow
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.recording.apply import apply
from tasks_app.web.charts import Series, Unit, chart
from tasks_app.web.outcome_charts import MEASURES, measure_steps
from tests.rollups import ended as counted
from zenith_worker.wire import stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def person() -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(User.objects.create_user("vera", password="a long enough one"))
    return client


def ended(count: int = 1, status: Status = Status.SUCCESS, **options: Any) -> list[UUID]:
    ids = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, count=count, **options), Origin(source="api")).ids
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
    assert "No events yet" in text(person, "/events/")
    assert "No task finished in this period" in text(person, "/analytics/")


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
    event_ids = [event.id for page in (first, second) for burst in page.context["bursts"] for event in burst.events]
    saved = json.loads(person.get("/events/?format=json").getvalue())
    assert [row["id"] for row in saved][: len(event_ids)] == sorted(event_ids, reverse=True)


def test_what_happened_to_a_task_is_one_row_that_opens(person: Client) -> None:
    (task_id,) = ended()
    (burst,) = person.get("/events/").context["bursts"]
    assert (burst.earlier[-1].status, burst.newest.status) == (Status.STARTED, Status.SUCCESS)
    page = text(person, "/events/")
    assert page.count(f'href="/tasks/{task_id}/" data-open') == 1
    assert page.count("<li>") >= 2


def test_figures_are_shown_with_links_to_what_they_count(person: Client) -> None:
    ended(3)
    ended(1, Status.FAILURE)
    page = person.get("/analytics/?window=1h")
    (row,) = page.context["tasks"]
    assert (row.totals.finished, row.totals.failed, row.totals.success_rate) == (4, 1, 75.0)
    for links, count in ((row.finished, 4), (row.failed, 1), (row.succeeded, 3), (page.context["total"].finished, 4)):
        assert f"?{escape(links)}" in page.text
        assert len(person.get(f"/tasks/?{links}").context["tasks"]) == count
    slowest = person.get(f"/tasks/?{row.slowest}")
    assert f"?{escape(row.slowest)}" in page.text
    assert (len(slowest.context["tasks"]), slowest.context["sort"]) == (4, "-runtime")
    assert person.get("/analytics/?task=another").context["total"].totals.finished == 0


def test_what_was_retried_links_to_its_events(person: Client) -> None:
    counted(time.time(), name="a", queue="one", succeeded=1, retried=2)
    page = person.get("/analytics/?window=1h")
    (row,) = page.context["tasks"]
    assert row.retried == "status=RETRY&task=a"
    assert f"/events/?{escape(row.retried)}" in page.text
    assert person.get(f"/events/?{row.retried}").context["filters"] == {"status": "RETRY", "task": "a"}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?window=15m",
        "?window=30d&task=drill_sleep&sort=failing",
        "?window=nonsense&sort=x",
        "?group=queue&series=runtime_p95",
    ],
)
def test_any_window_is_a_page_of_few_queries(person: Client, query: str, django_assert_max_num_queries: Any) -> None:
    ended(2)
    with django_assert_max_num_queries(12):
        text(person, f"/analytics/{query}")


def test_the_series_is_a_file(person: Client) -> None:
    ended(2)
    rows = json.loads(person.get("/analytics/?window=15m&format=json").getvalue())
    assert sum(row["succeeded"] for row in rows) == 2


def test_the_tables_are_files_too(person: Client) -> None:
    counted(START, name="a", queue="one", succeeded=1)
    counted(START, name="b", queue="one", failed=2)
    tasks, queues = (json.loads(person.get(f"/analytics/?{NOON}&list={by}&format=json").getvalue()) for by in ("task", "queue"))
    assert [(row["task"], row["succeeded"], row["failed"]) for row in tasks] == [("b", 0, 2), ("a", 1, 0)]
    assert [(row["queue"], row["succeeded"], row["failed"]) for row in queues] == [("one", 1, 2)]
    lines = person.get(f"/analytics/?{NOON}&list=task&format=csv").getvalue().decode().splitlines()
    assert lines[0].startswith("task,succeeded,failed")


def test_both_tables_from_one_reading_are_those_of_two() -> None:
    for name, queue in (("a", "one"), ("a", "two"), ("b", "one")):
        counted(START, name=name, queue=queue, succeeded=2, failed=len(name + queue), runs=[0.5], waits=[0.1])
    span = TimeWindow(START // 3600 * 3600, START // 3600 * 3600 + 3600, 60)
    for selection in (RollupFilter(), RollupFilter("a"), RollupFilter("", "one")):
        options: dict[str, Any] = {"order": Order.FAILING, "limit": 5}
        assert summaries(span, selection, **options) == tuple(
            summary(span, selection, by=by, **options) for by in ("task", "queue")
        )


def test_a_chart_has_a_scale_of_round_numbers_and_breaks_where_nothing_is_known() -> None:
    start = 1_893_456_000
    span = TimeWindow(start, start + 240, 60)
    drawn = chart("x", "X", span, [Series("a", "line", [1.0, None, 3.0, 4.0])], Unit.SECONDS)
    assert drawn.y_marks == ["4 s", "3 s", "2 s", "1 s", "0"]
    assert drawn.lines[0].path.count("M") == 2
    assert (len(drawn.rows), drawn.empty) == (4, False)
    assert chart("x", "X", span, [Series("a", "line", [None, 0.0, None, None])], Unit.RATE).empty


# --- Analytics: any time, every number a link ---

START = datetime(2020, 1, 31, 12, tzinfo=UTC).timestamp()
NOON = "since=2020-01-31T12:00&until=2020-01-31T12:30"


def test_a_time_of_ones_own_is_shown_and_kept_in_every_link(person: Client) -> None:
    counted(START, succeeded=3)
    counted(START + 1800, succeeded=5)
    page = person.get(f"/analytics/?{NOON}&task=t")
    assert page.context["total"].totals.finished == 3
    assert "from 31 Jan 12:00 until 31 Jan 12:30 UTC" in page.text
    for order in page.context["orders"]:
        assert "since=2020-01-31T12%3A00&until=2020-01-31T12%3A30" in order["url"]
    assert "ended_since:2020-01-31T12:00Z ended_until:2020-01-31T12:30Z" in unquote_plus(page.context["total"].finished)
    assert not any(tab["current"] for tab in page.context["range"].tabs)
    assert all("since" not in tab["url"] and "task=t" in tab["url"] for tab in page.context["range"].tabs)


@pytest.mark.parametrize(
    ("query", "culprit"),
    [("window=nonsense", "window"), ("window=all", "window"), ("since=yesterday", "since"), ("until=2020-01-31T12:00", "until"),
     ("since=2020-01-31T12:30&until=2020-01-31T12:00", "since"), ("window=7d&bucket=1m", "bucket"), ("bucket=2y", "bucket")],
)  # fmt: skip
def test_a_time_that_cannot_be_is_named_and_the_default_shown(person: Client, query: str, culprit: str) -> None:
    page = person.get(f"/analytics/?{query}")
    assert page.status_code == 200
    assert 'role="alert"' in page.text
    assert page.context["range"].problem.startswith(culprit)
    assert page.context["range"].preset == "1h"


@pytest.mark.parametrize(
    ("query", "title", "lines"),
    [("", "Finished", ["steady", "other"]), ("&group=queue&series=success", "Success rate", ["one", "two"]),
     ("&group=all&series=waiting_p95", "Waiting p95", ["All"]), ("&sort=failing&series=failed", "Failed", ["other", "steady"]),
     ("&group=x&series=y", "Finished", ["steady", "other"])],
)  # fmt: skip
def test_one_measure_is_compared_between_tasks_or_queues(person: Client, query: str, title: str, lines: list[str]) -> None:
    counted(START, name="steady", queue="one", succeeded=9, runs=[0.1] * 9, waits=[1.0] * 9)
    counted(START + 60, name="other", queue="two", succeeded=1, failed=2, runs=[3.0] * 3, waits=[2.0] * 3)
    drawn = person.get(f"/analytics/?{NOON}{query}").context["compared"]
    assert (drawn.title, [line.label for line in drawn.lines]) == (title, lines)
    assert not drawn.empty


def test_a_comparison_goes_in_the_steps_that_are_asked_for(person: Client) -> None:
    counted(START + 700, succeeded=30)
    page = person.get(f"/analytics/?{NOON}&bucket=15m")
    assert [row.values for row in page.context["compared"].rows] == [["2"], ["0"]]
    assert ("15m", True) in page.context["periods"]
    assert "30m" not in [value for value, _ in page.context["periods"]]


def test_each_hour_of_the_map_leads_to_what_ended_in_it(person: Client) -> None:
    ids = ended(2)
    page = person.get("/analytics/?window=6h")
    cells = [cell for _, row in page.context["heat"].rows for cell in row if cell.finished]
    assert sum(cell.finished for cell in cells) == 2
    listed = [item.task.id for cell in cells for item in person.get(f"/tasks/?{cell.query}").context["tasks"]]
    assert sorted(listed) == sorted(ids)
    assert not person.get("/analytics/?window=30d").context["heat"].by_date


def test_a_name_with_spaces_is_searched_as_one(person: Client) -> None:
    counted(time.time(), name='a "b" c', succeeded=1)
    (row,) = person.get("/analytics/?window=15m").context["tasks"]
    assert unquote_plus(row.finished).startswith(r'q=name:"a \"b\" c" status:SUCCESS')
    assert person.get(f"/tasks/?{row.finished}").context["problem"] == ""


def test_a_step_that_has_just_begun_is_no_trough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: START + 330)
    span = TimeWindow(int(START), int(START) + 360, 300)
    drawn = measure_steps(span, [Totals(succeeded=50), Totals(succeeded=5)], MEASURES["finished"])
    assert drawn == [10.0, 10.0]
