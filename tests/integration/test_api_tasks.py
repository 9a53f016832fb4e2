"""`GET /tasks/all` and `GET /task-status/{id}`: the shape, the filters, and pages by key."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django_celery_results.models import TaskResult

from tasks_app.models import Task
from tasks_app.queries.tasks import TaskFilter
from tests.integration.conftest import ApiClient
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status, position

NOW = datetime(2030, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
FIELDS = [
    "task_id", "task_type", "status", "data", "result", "error", "attempts", "worker", "created_at",
    "started_at", "finished_at", "processing_time",
]  # fmt: skip


@pytest.fixture
def client(api: ApiClient) -> Client:
    return api("read")


def make(**values: Any) -> Task:
    """A task, queued unless said otherwise."""
    status = Status(values.pop("status", Status.QUEUED))
    attempt = values.pop("attempt", 0)
    defaults: dict[str, Any] = {
        "id": new_id(), "name": "analyze_text", "queue": "default", "status": status, "args": ["text"],
        "position": position(attempt, 0, status), "source": "api", "created_at": NOW,
    }  # fmt: skip
    return Task.objects.create(**{**defaults, **values})


def succeeded(**values: Any) -> Task:
    task = make(
        status=Status.SUCCESS, started_at=NOW, finished_at=NOW + timedelta(seconds=1), runtime=0.75,
        worker="w1@host", **values,
    )  # fmt: skip
    result = json.dumps({"word_count": 1})
    TaskResult.objects.create(task_id=str(task.id), status="SUCCESS", result=result)
    return task


def test_a_task_that_succeeded_shows_all_that_is_known(client: Client) -> None:
    task = succeeded()
    answer = client.get(f"/task-status/{task.id}").json()
    assert list(answer) == FIELDS
    assert answer == {
        "task_id": str(task.id), "task_type": "analyze_text", "status": "SUCCESS", "data": "text",
        "result": {"word_count": 1}, "error": None, "attempts": 1, "worker": "w1@host",
        "created_at": "2030-01-31T12:00:00.250Z", "started_at": "2030-01-31T12:00:00.250Z",
        "finished_at": "2030-01-31T12:00:01.250Z", "processing_time": 0.75,
    }  # fmt: skip


def test_a_task_that_waits_shows_what_is_not_known_as_null(client: Client) -> None:
    answer = client.get(f"/task-status/{make().id}").json()
    assert list(answer) == FIELDS
    unknown = ("result", "error", "worker", "started_at", "finished_at", "processing_time")
    assert all(answer[name] is None for name in unknown)
    assert answer["attempts"] == 0


def test_a_task_that_failed_shows_its_error_and_attempts(client: Client) -> None:
    task = make(
        status=Status.FAILURE, attempt=3, started_at=NOW, finished_at=NOW, error_type="ValueError",
        error_message="no: really",
    )  # fmt: skip
    TaskResult.objects.create(task_id=str(task.id), status="FAILURE", result='{"exc_type": "x"}')
    answer = client.get(f"/task-status/{task.id}").json()
    assert (answer["error"], answer["attempts"]) == ("ValueError: no: really", 4)
    assert answer["result"] is None


def test_a_task_that_waits_for_its_next_attempt_counts_those_it_had(client: Client) -> None:
    task = make(status=Status.RECEIVED, attempt=2)
    assert client.get(f"/task-status/{task.id}").json()["attempts"] == 2


@pytest.mark.parametrize(
    ("args", "kwargs", "data"),
    [([1, 2], {}, 1), ([], {"seconds": 3}, 3), ([], {}, None), ([None], {"x": 1}, None)],
)
def test_data_is_the_first_argument(client: Client, args: Any, kwargs: Any, data: Any) -> None:
    task = make(args=args, kwargs=kwargs)
    assert client.get(f"/task-status/{task.id}").json()["data"] == data


@pytest.mark.parametrize("task_id", [str(UUID(int=7)), "nonsense", "1", "%00", "x" * 500])
def test_an_unknown_task_is_404(client: Client, task_id: str) -> None:
    response = client.get(f"/task-status/{task_id}")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_the_list_is_newest_first_and_as_long_as_asked(client: Client) -> None:
    ids = [str(make().id) for _ in range(5)]
    answer = client.get("/tasks/all?limit=3").json()
    assert [item["task_id"] for item in answer] == ids[:1:-1]
    assert [list(item) for item in answer] == [FIELDS] * 3


def test_an_empty_list_is_an_empty_list(client: Client) -> None:
    response = client.get("/tasks/all")
    assert response.json() == []
    assert "Link" not in response.headers


def test_a_hundred_are_listed_unless_asked_otherwise(client: Client) -> None:
    for _ in range(101):
        make()
    assert len(client.get("/tasks/all").json()) == 100


def test_following_the_links_shows_every_task_once_though_new_ones_come(client: Client) -> None:
    ids = [str(make().id) for _ in range(7)]
    listed_ids, address = [], "/tasks/all?limit=2&status=QUEUED"
    while address:
        response = client.get(address)
        listed_ids += [item["task_id"] for item in response.json()]
        make()
        link = re.fullmatch(r'<http://testserver(.+)>; rel="next"', response.headers.get("Link", ""))
        address = link[1] if link else ""
        assert not address or "status=QUEUED" in address
    assert listed_ids == ids[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "status=SUCCESS",
        "status=SUCCESS&task=analyze_text",
        "q=w1%40host",
        "q=W1",
        "task=analyze_text&q=w1",
    ],
)
def test_the_filters_find(client: Client, query: str) -> None:
    task = succeeded()
    make()
    make(name="drill_sleep")
    assert [item["task_id"] for item in client.get(f"/tasks/all?{query}").json()] == [str(task.id)]


def test_a_search_finds_a_task_by_its_id(client: Client) -> None:
    task, _ = make(), make()
    assert len(client.get(f"/tasks/all?q={task.id}").json()) == 1


def test_a_search_finds_a_task_by_its_error(client: Client) -> None:
    make(status=Status.FAILURE, finished_at=NOW, error_type="ValueError", error_message="the disk is full")
    make()
    assert len(client.get("/tasks/all?q=disk").json()) == 1
    assert len(client.get("/tasks/all?q=valueerror").json()) == 1
    assert client.get("/tasks/all?q=%25").json() == []


def test_empty_filters_filter_nothing(client: Client) -> None:
    make()
    assert len(client.get("/tasks/all?status=&task=&q=&cursor=").json()) == 1


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=ten", "limit"), ("limit=" + "9" * 5000, "limit"),
        ("cursor=nonsense", "cursor"), ("cursor=%00", "cursor"), ("cursor=" + "A" * 23, "cursor"),
        ("status=DONE", "status"), ("q=%00", "q"), ("task=a%00", "task"), ("q=" + "x" * 601, "q"),
        ("stauts=SUCCESS", "stauts"), ("offset=5", "offset"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(client: Client, query: str, parameter: str) -> None:
    response = client.get(f"/tasks/all?{query}")
    assert response.status_code == 422
    assert [item["parameter"] for item in response.json()["errors"]] == [parameter]


@pytest.mark.parametrize("count", [1, 30])
def test_a_page_takes_two_queries_however_long_it_is(db: None, count: int, django_assert_num_queries: Any) -> None:
    for _ in range(count):
        succeeded()
    with django_assert_num_queries(2):
        assert len(TaskFilter().page().tasks) == count


def test_a_request_takes_one_more_for_the_token(client: Client, django_assert_num_queries: Any) -> None:
    succeeded()
    client.get("/tasks/all")  # notes that the token was used; the next minute nothing is noted
    with django_assert_num_queries(3):
        client.get("/tasks/all")


def test_a_result_that_other_code_stored_is_shown_as_it_is(client: Client) -> None:
    task = make(status=Status.SUCCESS, finished_at=NOW)
    TaskResult.objects.create(task_id=str(task.id), status="SUCCESS", result="not JSON")
    assert client.get(f"/task-status/{task.id}").json()["result"] == "not JSON"


def test_any_active_user_may_look(api: ApiClient, member: Any) -> None:
    assert api("read", user=member).get("/tasks/all").status_code == 200


def test_a_dispatch_token_may_not_look(api: ApiClient) -> None:
    assert api("dispatch").get("/tasks/all").status_code == 403


def test_a_stranger_may_not_look(db: None) -> None:
    assert Client().get("/tasks/all").status_code == 401
    assert Client().get(f"/task-status/{UUID(int=0)}").status_code == 401


def test_a_list_cannot_be_posted_to(client: Client) -> None:
    response = client.post("/tasks/all")
    assert response.status_code == 405
    assert response.headers["Content-Type"] == "application/problem+json"


def test_head_is_answered_like_get_without_the_body(client: Client) -> None:
    response = client.head("/tasks/all")
    assert response.status_code == 200
    assert response.content == b""
