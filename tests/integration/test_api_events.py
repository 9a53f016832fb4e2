"""`/api/v1/events`: after an id, before one, the newest, with filters, and never more work than a page is worth."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.models import TaskEvent
from tasks_app.queries import events as listing
from tasks_app.recording.apply import apply
from tests.failures import queued
from tests.integration.conftest import ApiClient
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

PATH = "/api/v1/events"


@pytest.fixture
def reader(api: ApiClient) -> Client:
    return api("read")


def succeed(count: int, **values: Any) -> list[int]:
    """Let so many tasks start and succeed; return the ids of the three events of each."""
    now = time.time()
    before = TaskEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
    for _ in range(count):
        task = queued(**values)
        apply(
            [
                Event(
                    task_id=str(task.id), status=Status.SUCCESS, at=now, received_at=now, started_at=now, result="1", worker="w@h"
                )
            ]
        )
    return list(TaskEvent.objects.filter(id__gt=before).order_by("id").values_list("id", flat=True))


def get(client: Client, query: str = "") -> Any:
    response = client.get(f"{PATH}?{query}")
    assert response.status_code == 200, response.content
    return response.json()


def ids(answer: Any) -> list[int]:
    return [item["id"] for item in answer["events"]]


def test_an_event_says_what_happened_to_which_task(reader: Client) -> None:
    succeed(1, name="a", queue="q")
    answer = get(reader)
    assert [item["status"] for item in answer["events"]] == ["RECEIVED", "STARTED", "SUCCESS"]
    task_id = TaskEvent.objects.values_list("task_id", flat=True)[0]
    assert {name: value for name, value in answer["events"][2].items() if name not in ("id", "at")} == {
        "task_id": str(task_id), "application": "zenith", "task_type": "a", "queue": "q", "status": "SUCCESS",
        "attempt": 1, "worker": "w@h",
        "message": "",
    }  # fmt: skip


def test_the_newest_come_without_asking_for_any(reader: Client) -> None:
    known = succeed(3)
    answer = get(reader, "limit=4")
    assert ids(answer) == known[-4:]
    assert (answer["after"], answer["before"], answer["more"]) == (known[-1], known[-4], True)


def test_following_shows_each_once_and_goes_on_when_there_is_more(reader: Client) -> None:
    known = succeed(3)
    read_ids: list[int] = []
    answer = get(reader, "after=0&limit=4")
    while True:
        read_ids += ids(answer)
        if not answer["more"]:
            break
        answer = get(reader, f"after={answer['after']}&limit=4")
    assert read_ids == known
    assert get(reader, f"after={answer['after']}") == {**answer, "events": [], "before": answer["after"] + 1}
    later = succeed(1)
    assert ids(get(reader, f"after={answer['after']}")) == later


def test_going_back_shows_each_once(reader: Client) -> None:
    known = succeed(3)
    read_ids: list[int] = []
    answer = get(reader, "limit=2")
    while True:
        read_ids = ids(answer) + read_ids
        if not answer["more"]:
            break
        answer = get(reader, f"before={answer['before']}&limit=2")
    assert read_ids == known
    assert answer["before"] is None


@pytest.mark.parametrize(
    ("query", "count"),
    [("task=a", 3), ("queue=two", 3), ("status=SUCCESS", 2), ("worker=w@h", 6), ("worker=x", 0), ("task=a&status=STARTED", 1),
     ("task=a&queue=two", 0), ("task=&status=&queue=&worker=&after=&before=", 6)],
)  # fmt: skip
def test_the_filters_find(reader: Client, query: str, count: int) -> None:
    succeed(1, name="a", queue="one")
    succeed(1, name="b", queue="two")
    assert len(ids(get(reader, query))) == count
    if "after" not in query:
        assert len(ids(get(reader, f"{query}&after=0"))) == count


def test_a_rare_event_is_found_page_by_page(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_SCANNED", 4)
    first = succeed(1, name="rare")
    succeed(5, name="often")
    last = succeed(1, name="rare")
    for direction, start in (("after", "after=0"), ("before", "")):
        read_ids: list[int] = []
        answer, pages = get(reader, f"task=rare&{start}"), 1
        while answer["more"]:
            read_ids += ids(answer)
            answer, pages = get(reader, f"task=rare&{direction}={answer[direction]}"), pages + 1
        assert sorted(read_ids + ids(answer)) == [*first, *last]
        assert pages > 4


def test_what_is_older_than_everything_kept_is_not_looked_through(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_SCANNED", 4)
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('tasks_app_taskevent', 'id'), 1000000)")
    known = succeed(1, name="rare")
    for query, bound in (("task=rare", {"before": None}), ("task=rare&after=0", {"after": known[-1]})):
        answer = get(reader, query)
        assert (ids(answer), answer["more"]) == (known, False)
        assert bound.items() <= answer.items()
    assert get(reader, "task=rare&before=900000")["more"] is False


def test_a_page_takes_two_queries(reader: Client) -> None:
    succeed(5)
    for query in ("", "after=0", "task=a&after=0", "before=10"):
        with CaptureQueriesContext(connection) as queries:
            get(reader, query)
        assert len([item for item in queries if "tasks_app_taskevent" in item["sql"]]) == 2
        assert len([item for item in queries if "tasks_app_" in item["sql"]]) == 2


@pytest.mark.parametrize(
    ("query", "culprit"),
    [("after=-1", "after"), ("after=x", "after"), (f"after={2**63}", "after"), ("before=-1", "before"),
     ("after=1&before=2", "before"), ("limit=0", "limit"), ("limit=1001", "limit"), ("status=GONE", "status"),
     ("task=%00", "task"), ("tasks=a", "tasks")],
)  # fmt: skip
def test_what_cannot_be_listed_is_refused_by_name(reader: Client, query: str, culprit: str) -> None:
    response = reader.get(f"{PATH}?{query}")
    assert response.status_code == 422
    assert [item["parameter"] for item in response.json()["errors"]] == [culprit]
