"""The Overview: counters that lead to what they count, what came of a time, dead letters by error; in few queries."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tasks_app.analytics.sparks import STEP, STEPS, condensed, last_hour
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Application, LoadSample, QueueSample
from tasks_app.recording.apply import apply
from tests.rollups import ended
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

FRAGMENTS = {"HX-Request": "true", "Accept": "text/html"}


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def sent(count: int = 1, **options: Any) -> list[str]:
    return [str(id_) for id_ in dispatch(Dispatch(task="analyze_text", data=["x"] * count, **options), Origin(source="api")).ids]


def moved(ids: list[str], status: Status, **more: Any) -> None:
    now = time.time()
    apply([Event(task_id=id_, status=status, at=now, worker="w1@host", started_at=now - 1, **more) for id_ in ids])


def some_of_all() -> None:
    """Two running, three queued, one scheduled, one retrying, four dead letters of two kinds, five successes."""
    heartbeat.write("w1@host", slots=4, busy=2, queues=["default"])
    moved(sent(2), Status.STARTED)
    sent(3)
    sent(1, not_before=datetime.now(UTC) + timedelta(hours=1))
    moved(sent(1), Status.RETRY, error_type="OSError", error_message="full", not_before=time.time() + 60, runtime=1.0)
    moved(sent(3), Status.FAILURE, error_type="OSError", error_message="full", runtime=1.0)
    moved(sent(1), Status.FAILURE, error_type="KeyError", error_message="user", runtime=1.0)
    moved(sent(5), Status.SUCCESS, result="1", runtime=1.0)


def listed(client: Client, link: str) -> int:
    """How many rows the list behind a link of the page has."""
    page = client.get(link)
    return sum(group.open for group in page.context["groups"]) if "dead" in link else len(page.context["tasks"])


def link(page: str, counter: str) -> str:
    return page.split(f'id="{counter}"')[1].split('href="')[1].split('"')[0].replace("&amp;", "&")


def test_every_counter_leads_to_what_it_counts(person: Client) -> None:
    some_of_all()
    page = person.get("/")
    counts = page.context["counts"]
    expected = {"running": 2, "queued": 3, "scheduled": 1, "retrying": 1, "dead": 4}
    assert {name: getattr(counts, name) for name in expected} == expected
    assert (counts.slots, counts.dead_kinds, counts.dead_lately) == (4, 2, 4)
    assert {name: listed(person, link(page.text, f"count-{name}")) for name in expected} == expected
    assert page.context["total"].succeeded == listed(person, link(page.text, "succeeded")) == 5
    assert page.context["total"].failed == listed(person, f"/tasks/?{page.context['failed_query']}") == 4


@pytest.mark.parametrize("query", ["", "?window=15m", "?window=7d", "?since=2020-01-31T12:00&until=2020-01-31T13:00"])
@pytest.mark.parametrize(("headers", "most"), [({}, 12), (FRAGMENTS, 10)], ids=["whole", "fragments"])
def test_it_takes_few_queries(
    person: Client, query: str, headers: dict[str, str], most: int, django_assert_max_num_queries: Any
) -> None:
    some_of_all()
    with django_assert_max_num_queries(most):
        assert person.get(f"/{query}", headers=headers).status_code == 200


def test_the_verdict_says_what_matters_most(person: Client) -> None:
    assert "No worker is online. New tasks will wait" in person.get("/").text
    sent(1)
    assert "No worker is online, and 1 task waits for one." in person.get("/").text
    heartbeat.write("w1@host", slots=4, busy=0, queues=["default"])
    assert "All is well: 0 running, 1 waiting." in person.get("/").text
    moved(sent(1), Status.FAILURE, error_type="OSError", error_message="full", runtime=1.0)
    assert "1 task failed in the last hour." in person.get("/").text


def test_what_came_of_a_time_follows_the_address(person: Client) -> None:
    now = time.time()
    ended(now - 60, succeeded=3, failed=1, runs=[0.1] * 4)
    ended(now - 3 * 3600, succeeded=10)
    for query, succeeded in (("", 3), ("?window=15m", 3), ("?window=6h", 13), ("?window=30d", 3)):
        page = person.get(f"/{query}")
        assert page.context["total"].succeeded == succeeded
        assert sum(page.context["succeeded_spark"]) == succeeded
    assert page.context["range"].problem.startswith("window")
    assert 'role="alert"' in page.text


def test_an_open_page_asks_only_for_what_depends_on_its_time(person: Client) -> None:
    answer = person.get("/?window=6h", headers=FRAGMENTS)
    for name in ("head", "succeeded", "outcomes", "load", "letters"):
        assert answer.text.count(f'id="{name}"') == 1
    for name in ("counters", "stream", "workers"):
        assert f'id="{name}"' not in answer.text


def test_dead_letters_stand_in_groups_that_lead_to_theirs(person: Client) -> None:
    some_of_all()
    page = person.get("/")
    assert [(group.error_type, group.open) for group in page.context["groups"]] == [("KeyError", 1), ("OSError", 3)]
    for group in page.context["groups"]:
        assert sum(group.hours) == group.hours[-1] == group.open
        assert f"/dead-letters/{group.fingerprint}/" in page.text


def test_who_may_not_dispatch_sees_no_button(person: Client) -> None:
    assert "Run 10 tasks" in person.get("/").text
    User.objects.get().groups.set([Group.objects.get(name="viewer")])
    assert "Run 10 tasks" not in person.get("/").text


def test_the_last_hour_goes_into_twelve_steps() -> None:
    now = time.time()
    minute = datetime.fromtimestamp(now // 60 * 60, tz=UTC)
    LoadSample.objects.create(minute=minute, sampled_at=minute, looks=4, workers=8, slots=16, busy=6)
    for queue, depth in (("one", 7), ("two", 5)):
        QueueSample.objects.create(minute=minute, queue=queue, depth=depth, unacknowledged=0)
    ended(now, name="a", retried=2, failed=1)
    ended(now, name="b", retried=1)
    ended(now - 2 * STEPS * STEP, failed=9)
    sparks = last_hour()
    assert (sparks.busy[-1], sparks.waiting[-1], sparks.retried[-1], sparks.failed[-1]) == (1.5, 12.0, 3.0, 1.0)
    assert (len(sparks.busy), sum(sparks.failed)) == (STEPS, 1.0)


@pytest.mark.parametrize("length", [1, 11, 12, 13, 61, 120])
def test_a_series_is_condensed_without_loss(length: int) -> None:
    short = condensed([1.0] * length)
    assert len(short) <= STEPS
    assert sum(short) == length


def test_the_charts_carry_their_numbers(person: Client) -> None:
    ended(time.time() - 120, succeeded=6, failed=2)
    drawn = person.get("/?window=15m").context["throughput"]
    numbers = json.loads(drawn.data)
    assert (numbers["unit"], numbers["step"]) == ("rate", 60)
    assert [sum(one["values"]) for one in numbers["series"]] == [8, 2]


# --- One application alone ---


def some_of_shop() -> None:
    """What `some_of_all` makes, and of another application three that run, one that waits and two failures of one kind."""
    some_of_all()
    shop = Application.objects.create(name="shop", kind="attached")
    heartbeat.write("shop@till", slots=8, busy=3, queues=["tills"], application="shop", about=heartbeat.About(catalogue="d"))
    statuses = [*[Status.STARTED] * 3, Status.QUEUED, Status.FAILURE, Status.FAILURE]
    for number, status in enumerate(statuses):
        failed = {"error_type": "TillError", "error_message": "closed", "runtime": 1.0} if status == Status.FAILURE else {}
        event = Event(
            task_id=f"order-{number}", application="shop", status=status, at=time.time(), name="shop.pay", queue="tills", **failed
        )
        apply([event], {"shop": shop.pk})


@pytest.mark.parametrize("headers", [{}, FRAGMENTS], ids=["whole", "fragments"])
def test_it_shows_one_application_alone(person: Client, headers: dict[str, str], django_assert_max_num_queries: Any) -> None:
    some_of_shop()
    with django_assert_max_num_queries(20):
        page = person.get("/?application=shop", headers=headers)
    counted = {counter["label"]: counter["number"] for counter in page.context["counters"]}
    assert counted == {"Running": 3, "Waiting": 1, "Scheduled": 0, "Retrying": 0}
    for counter in page.context["counters"]:
        assert len(person.get(f"/tasks/?{counter['query']}").context["tasks"]) == counter["number"]
    assert (page.context["total"].failed, page.context["dead"]) == (2, 2)
    assert [(group.error_type, group.open) for group in page.context["groups"]] == [("TillError", 2)]
    assert {row.task.name for row in page.context["tasks"]} == {"shop.pay"}
    assert [view.beat.name for view in page.context["workers"]] == ["shop@till"]
    for other in ("analyze_text", "KeyError", "w1@host"):
        assert other not in page.text
    assert 'name="application" value="shop"' in page.text, "another period would show all"


def test_zeniths_own_is_an_application_too(person: Client) -> None:
    some_of_shop()
    page = person.get("/?application=zenith&window=1h")
    assert {counter["label"]: counter["number"] for counter in page.context["counters"]} == {
        "Running": 2, "Waiting": 3, "Scheduled": 1, "Retrying": 1,
    }  # fmt: skip
    assert (page.context["total"].succeeded, page.context["total"].failed) == (5, 4)
    assert page.context["efficiency"]
    for other in ("shop.pay", "TillError", "shop@till"):
        assert other not in page.text


def test_the_choice_stands_on_the_overview_if_there_are_several(person: Client) -> None:
    assert "overview-application" not in person.get("/").text
    some_of_shop()
    for path, chosen in (("/", "All applications"), ("/?application=", "All applications"), ("/?application=shop", "shop")):
        choice = person.get(path).text.partition('id="overview-application"')[2].partition("</select>")[0]
        assert f">{chosen}</option>" in choice
        assert ("selected" in choice) == (chosen == "shop")
    for path in ("/?application=nothing", "/?application=%00", "/?application=" + "x" * 300):
        assert person.get(path).status_code == 404
