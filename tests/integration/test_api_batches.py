"""`/api/v1/batches`: progress, and cancelling what is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tasks_app.queries.batches import BatchFilter
from tests.integration.conftest import ApiClient

PATH = "/api/v1/batches"
JSON = "application/json"


@pytest.fixture
def client(api: ApiClient) -> Client:
    return api("read", "dispatch", "operate")


def batch(count: int = 3, task: str = "drill_sleep") -> UUID:
    request = Dispatch(
        task=task, data=1 if task == "drill_sleep" else "x", count=count, not_before=timezone.now() + timedelta(hours=1)
    )
    return dispatch(request, Origin(source="api", sent_by="ada")).batch_id


def ends(tasks: Any, status: str = "SUCCESS") -> None:
    Task.objects.filter(id__in=[task.id for task in tasks]).update(status=status, finished_at=timezone.now())


def test_the_list_shows_progress_newest_first(client: Client) -> None:
    first, second = batch(3), batch(2, "analyze_text")
    ends(Task.objects.filter(batch=first)[:2])
    answer = client.get(PATH).json()
    assert [item["batch_id"] for item in answer] == [str(second), str(first)]
    assert [(item["total"], item["finished"]) for item in answer] == [(2, 0), (3, 2)]
    assert answer[1]["by_status"] == {"SCHEDULED": 1, "SUCCESS": 2}
    assert answer[1]["sent_by"] == "ada"
    assert [item["task_type"] for item in client.get(PATH, {"task": "analyze_text"}).json()] == ["analyze_text"]


def test_the_links_lead_through_all(client: Client) -> None:
    ids = [str(batch(1)) for _ in range(5)]
    listed_ids, address = [], f"{PATH}?limit=2"
    while address:
        response = client.get(address)
        listed_ids += [item["batch_id"] for item in response.json()]
        address = response.headers.get("Link", "").partition("<http://testserver")[2].partition(">")[0]
    assert listed_ids == ids[::-1]


@pytest.mark.parametrize("count", [1, 10])
def test_a_page_takes_two_queries_however_long_it_is(db: None, count: int, django_assert_num_queries: Any) -> None:
    for _ in range(count):
        batch(2)
    with django_assert_num_queries(2):
        assert len(BatchFilter().page().batches) == count


def test_one_batch_tells_when_it_will_be_finished(client: Client) -> None:
    id_ = batch(4)
    answer = client.get(f"{PATH}/{id_}").json()
    assert (answer["eta"], answer["finished_at"]) == (None, None)
    ends(Task.objects.filter(batch=id_)[:2])
    assert client.get(f"{PATH}/{id_}").json()["eta"] is not None
    ends(Task.objects.filter(batch=id_), "FAILURE")
    answer = client.get(f"{PATH}/{id_}").json()
    assert (answer["finished"], answer["eta"]) == (4, None)
    assert answer["finished_at"] is not None


def test_what_is_left_is_cancelled(client: Client) -> None:
    id_, other = batch(3), batch(1)
    ends(Task.objects.filter(batch=id_)[:1])
    answer = client.post(f"{PATH}/{id_}/cancel", content_type=JSON).json()
    assert (answer["matched"], answer["revoked"]) == (2, 2)
    assert client.post(f"{PATH}/{id_}/cancel", content_type=JSON).json()["matched"] == 0
    assert Task.objects.get(batch=other).status == "SCHEDULED"


@pytest.mark.parametrize("id_", [str(UUID(int=7)), "nonsense"])
def test_an_unknown_batch_is_404(client: Client, id_: str) -> None:
    assert client.get(f"{PATH}/{id_}").status_code == 404
    assert client.post(f"{PATH}/{id_}/cancel", content_type=JSON).status_code == 404


@pytest.mark.parametrize("query", ["limit=101", "cursor=x", "status=x"])
def test_a_bad_parameter_is_named(client: Client, query: str) -> None:
    response = client.get(f"{PATH}?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == query.partition("=")[0]
