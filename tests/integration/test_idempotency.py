"""`Idempotency-Key` on everything that creates: once, with one answer, for a day."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.errors import IdempotencyConflictError
from tasks_app.maintenance.retention import prune_idempotency_keys
from tasks_app.models import IdempotencyKey, Task
from tests.attached_worker import attach
from tests.integration.conftest import ApiClient
from tests.integration.test_api_tasks import succeeded
from tests.integration.test_api_v1_tasks import failed
from zenith_site.common.idempotency import request_digest

JSON = "application/json"
KEY = {"Idempotency-Key": "order-4711"}


@pytest.fixture(autouse=True)
def often(settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = type(settings.ZENITH_RATE_LIMIT)(count=1000, seconds=1)


@pytest.fixture
def client(api: ApiClient) -> Client:
    return api("read", "dispatch", "operate")


def creating(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A path, a body, and another body, of an operation that creates one task."""
    if name == "trigger":
        return "/tasks/trigger", {"data": "a"}, {"data": "b"}
    if name == "dispatch":
        return "/api/v1/tasks", {"dispatches": [{"data": "a"}]}, {"dispatches": [{"data": "b"}]}
    if name == "retry":
        return f"/api/v1/tasks/{succeeded().id}/retry", {}, {"forced": True}
    return "/api/v1/dead-letters/replay", {"ids": [str(failed().id)]}, {"all": True}


@pytest.mark.parametrize("name", ["trigger", "dispatch", "retry", "replay"])
def test_the_same_request_gets_the_same_answer_and_another_is_refused(client: Client, name: str) -> None:
    path, body, other = creating(name)
    before = Task.objects.count()
    first, second = (client.post(path, body, content_type=JSON, headers=KEY) for _ in range(2))
    assert first.status_code == second.status_code
    assert first.status_code in (200, 201)
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    refused = client.post(path, other, content_type=JSON, headers=KEY)
    assert (refused.status_code, refused.json()["errors"][0]["header"]) == (422, "Idempotency-Key")
    assert Task.objects.count() == before + 1


#: The members of a request before there were other applications.
OLD_MEMBERS: dict[str, Any] = {
    "task": "analyze_text", "count": None, "data": "a", "kwargs": {}, "queue": None, "priority": None, "not_before": None,
    "max_retries": None, "time_limit": None, "soft_time_limit": None, "expires_at": None,
}  # fmt: skip


@pytest.mark.django_db
def test_a_request_of_zeniths_own_is_the_same_as_before_there_were_other_applications() -> None:
    origin = Origin(source="api", sent_by="ann", idempotency_key="order-4711")
    first = dispatch(Dispatch(data="a"), origin)
    assert bytes(IdempotencyKey.objects.get().digest) == request_digest(OLD_MEMBERS)
    assert dispatch(Dispatch(data="a"), origin).ids == first.ids
    attach("shop")
    with pytest.raises(IdempotencyConflictError):
        dispatch(Dispatch(task="shop.charge", data=1, application="shop"), origin)


def test_the_same_holds_for_many_dispatches_and_for_dead_letters(client: Client) -> None:
    client.post("/api/v1/tasks", {"dispatches": [{"data": "a"}]}, content_type=JSON, headers=KEY)
    told: list[Any] = ["POST", "/api/v1/tasks", {"dispatches": [OLD_MEMBERS]}]
    assert bytes(IdempotencyKey.objects.get().digest) == request_digest(told)
    IdempotencyKey.objects.all().delete()
    path, ids = "/api/v1/dead-letters/replay", [str(failed().id)]
    client.post(path, {"ids": ids}, content_type=JSON, headers=KEY)
    members = {
        "ids": ids, "group": None, "all": False, "task": "", "error": "", "args": None, "kwargs": {}, "first": 0, "rate": None,
        "forced": False,
    }  # fmt: skip
    assert bytes(IdempotencyKey.objects.get().digest) == request_digest(["POST", path, members])


def test_a_key_stands_for_one_operation(client: Client) -> None:
    body = {"dispatches": [{"data": "a"}]}
    assert client.post("/api/v1/tasks", body, content_type=JSON, headers=KEY).status_code == 201
    assert client.post(f"/api/v1/tasks/{succeeded().id}/retry", content_type=JSON, headers=KEY).status_code == 422


def test_anothers_key_is_another_key(api: ApiClient) -> None:
    body = {"dispatches": [{"data": "a"}]}
    answers = [api("dispatch").post("/api/v1/tasks", body, content_type=JSON, headers=KEY).json() for _ in range(2)]
    assert answers[0] != answers[1]


def test_what_was_refused_leaves_the_key_free(client: Client) -> None:
    bad, good = ({"dispatches": [{"data": data}]} for data in (7, "a"))
    assert client.post("/api/v1/tasks", bad, content_type=JSON, headers=KEY).status_code == 422
    assert client.post("/api/v1/tasks", good, content_type=JSON, headers=KEY).status_code == 201


def test_after_a_day_a_key_is_free_and_then_pruned(client: Client) -> None:
    body = {"dispatches": [{"data": "a"}]}
    client.post("/api/v1/tasks", body, content_type=JSON, headers=KEY)
    assert prune_idempotency_keys() == 0
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    again = client.post("/api/v1/tasks", body, content_type=JSON, headers=KEY)
    assert (again.status_code, Task.objects.count()) == (201, 2)
    assert "Idempotent-Replayed" not in again.headers
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    assert prune_idempotency_keys() == 1
    assert not IdempotencyKey.objects.exists()


def test_without_a_key_nothing_is_kept(client: Client) -> None:
    client.post("/api/v1/tasks", {"dispatches": [{"data": "a"}]}, content_type=JSON)
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_dispatches(client: Client) -> None:
    answers: list[Any] = []
    together = threading.Barrier(5)

    def send() -> None:
        together.wait(30)
        try:
            answers.append(client.post("/api/v1/tasks", {"dispatches": [{"data": "a"}]}, content_type=JSON, headers=KEY))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 4
    assert Task.objects.count() == 1
