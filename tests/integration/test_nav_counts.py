"""The numbers beside the navigation: what they count, that they cost one query, and that they come by themselves."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.queries.nav_counts import NavCounts, read_nav_counts
from tasks_app.recording.apply import apply
from zenith_worker.wire import heartbeat, stream
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


def busy() -> None:
    """Two tasks wait, one runs, one is dead; one worker takes from two queues."""
    ids = dispatch(Dispatch(task="analyze_text", count=4), Origin(source="api")).ids
    now = time.time()
    apply(
        [
            Event(task_id=str(ids[0]), status=Status.STARTED, at=now, worker="w1"),
            Event(task_id=str(ids[1]), status=Status.FAILURE, at=now, worker="w1", error_type="X", result='{"exc_type": "X"}'),
        ]
    )
    heartbeat.write("w1@here", slots=2, busy=1, queues=["default", "reports"])


def test_what_is_counted() -> None:
    busy()
    assert read_nav_counts() == NavCounts(running=1, waiting=2, dead=1, attached=(), workers=1, queues=2)


def test_every_page_has_the_counts(person: Client) -> None:
    busy()
    for path in ("/tasks/", "/settings/", "/dead-letters/"):
        text = person.get(path).content.decode()
        assert 'title="1 running, 2 waiting"' in text
        assert 'id="nav-count-tasks-dead-letters"' in text


def test_nothing_to_count_is_no_number(person: Client) -> None:
    assert 'title="0 running' not in person.get("/tasks/").content.decode()


def test_they_cost_one_query(django_assert_num_queries: Any) -> None:
    busy()
    with django_assert_num_queries(1):
        read_nav_counts()


def test_an_open_page_asks_for_the_counts_alone_and_hears_when_nothing_changed(person: Client) -> None:
    busy()
    first = person.get("/nav/counts/", headers={"HX-Request": "true"})
    text = first.content.decode()
    assert text.count("hx-swap-oob") == 5
    assert "<html" not in text
    again = person.get("/nav/counts/", headers={"HX-Request": "true", "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_without_redis_the_other_counts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def away() -> None:
        raise redis.ConnectionError("away")

    busy()
    monkeypatch.setattr(heartbeat, "read_all", away)
    assert read_nav_counts() == NavCounts(running=1, waiting=2, dead=1, attached=(), workers=None, queues=None)
