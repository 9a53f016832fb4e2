"""`POST /tasks/trigger`: what it dispatches, and what it refuses with a pointer to the culprit."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import Client

from tasks_app.models import Batch, Task, TaskEvent
from tests.integration.conftest import ApiClient

PATH = "/tasks/trigger"
JSON = "application/json"


def post(client: Client, body: Any = b"", **headers: str) -> Any:
    raw = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(PATH, data=raw, content_type=JSON, headers=headers)


def culprits(response: Any) -> dict[str, str]:
    """The errors of a problem by where they are."""
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert {"type", "title", "detail"} <= problem.keys()
    return {item.get("pointer", item.get("header")): item["detail"] for item in problem["errors"]}


@pytest.fixture
def client(api: ApiClient) -> Client:
    return api("dispatch")


def test_without_a_body_it_dispatches_ten_sample_texts(client: Client) -> None:
    response = post(client)
    answer = response.json()
    assert response.status_code == 200
    assert answer["status"] == "Success"
    assert answer["triggered"] == 10
    assert [str(task.id) for task in Task.objects.order_by("id")] == answer["ids"]
    assert str(Batch.objects.get().id) == answer["batch_id"]
    assert all(task.name == "analyze_text" and task.args for task in Task.objects.all())


def test_the_batch_says_who_asked(client: Client) -> None:
    post(client)
    batch = Batch.objects.get()
    assert batch.source == "api"
    assert batch.sent_by.startswith("token test (zen_")
    assert batch.user is not None
    assert batch.user.get_username() == "root"


def test_a_list_gives_each_task_its_own_first_argument(client: Client) -> None:
    assert post(client, {"data": ["one", "two"]}).json()["triggered"] == 2
    assert list(Task.objects.order_by("id").values_list("args", flat=True)) == [["one"], ["two"]]


def test_every_field_of_the_contract_is_accepted(client: Client) -> None:
    body = {
        "task": "drill_sleep", "count": 2, "kwargs": {"seconds": 0.5}, "queue": "slow", "priority": 3,
        "not_before": "2099-01-01T02:00:00+02:00", "max_retries": 0,
    }  # fmt: skip
    assert post(client, body).status_code == 200
    task = Task.objects.first()
    assert task is not None
    assert (task.queue, task.priority, task.max_retries) == ("slow", 3, 0)
    assert (task.status, task.kwargs) == ("SCHEDULED", {"seconds": 0.5})
    assert task.not_before is not None
    assert task.not_before.isoformat() == "2099-01-01T00:00:00+00:00"


BAD: list[tuple[Any, str, str]] = [
    ({"task": "no_such"}, "/task", "there is no task"),
    ({"count": 0}, "/count", "between 1 and 10,000"),
    ({"count": 10_001}, "/count", "between 1 and 10,000"),
    ({"count": "3"}, "/count", "valid integer"),
    ({"count": 3.5}, "/count", "valid integer"),
    ({"count": True}, "/count", "valid integer"),
    ({"cuont": 3}, "/cuont", "not permitted"),
    ({"data": 7}, "/data", "valid string"),
    ({"data": ["a", 7]}, "/data/1", "valid string"),
    ({"data": ["a"], "count": 2}, "/data", "has 1 items for 2 tasks"),
    ({"kwargs": {"text": "x"}}, "/kwargs/text", "no such argument"),
    ({"kwargs": ["x"]}, "/kwargs", "valid dictionary"),
    ({"task": "drill_sleep", "kwargs": {"seconds": "1"}}, "/kwargs/seconds", "valid number"),
    ({"queue": ""}, "/queue", "printable"),
    ({"queue": "a\n"}, "/queue", "printable"),
    ({"priority": 10}, "/priority", "between 0 and 9"),
    ({"max_retries": -1}, "/max_retries", "between 0 and"),
    ({"not_before": "2030-01-01T00:00:00"}, "/not_before", "with its zone"),
    ({"not_before": "tomorrow"}, "/not_before", "with its zone"),
    ({"not_before": 1_900_000_000}, "/not_before", "with its zone"),
    ({"not_before": "0001-01-01T00:00:00+14:00"}, "/not_before", "within the years"),
    ({"data": "a\x00b"}, "/data", "NUL"),
    ({"data": ["ok", "a\x00b"]}, "/data/1", "NUL"),
    ({"kwargs": {"da\x00ta": "x"}}, "/kwargs/da\x00ta", "NUL"),
    ('{"data": "\\ud800"}', "/data", "surrogates"),
    ({"task": "drill_sleep", "kwargs": {"seconds": 2**53}}, "/kwargs/seconds", "±9007199254740991"),
    ('{"kwargs": {"a/b": [1' + "0" * 5000 + "]}}", "/kwargs/a~1b/0", "±9007199254740991"),
    ('{"task": "drill_sleep", "data": NaN}', "/data", "NaN is not JSON"),
    ('{"task": "drill_sleep", "data": 1e999}', "/data", "finite"),
    ('{"count": 1, "count": 2}', "/count", "appears 2 times"),
    ('{"kwargs": ' + '{"a":' * 40 + "1" + "}" * 41, "/kwargs" + "/a" * 32, "32 levels deep"),
    ("[" * 200_000, "", "32 levels deep"),
    ("{nonsense", "", "not JSON: Expecting property name"),
    (b'{"data": "\xff"}', "", "not UTF-8: byte 10"),
    ("[]", "", "dictionary"),
    ('"text"', "", "dictionary"),
]


@pytest.mark.parametrize(("body", "pointer", "detail"), BAD)
def test_bad_input_is_named_and_nothing_is_dispatched(client: Client, body: Any, pointer: str, detail: str) -> None:
    response = post(client, body)
    problems = culprits(response)
    assert response.status_code == 422
    assert pointer in problems
    assert detail in problems[pointer]
    assert not Task.objects.exists()


def test_every_culprit_is_named_at_once(client: Client) -> None:
    response = post(client, {"count": "x", "priority": "y", "what": 1})
    assert culprits(response).keys() == {"/count", "/priority", "/what"}


def test_at_most_twenty_culprits_are_named(client: Client) -> None:
    assert len(culprits(post(client, {"data": ["\x00"] * 1000}))) == 20


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_not_declared_as_json_is_415(client: Client, kind: str) -> None:
    response = client.post(PATH, data=b'{"count": 1}', content_type=kind)
    assert response.status_code == 415
    assert response.json()["title"] == "Unsupported Media Type"


def test_a_body_over_ten_mebibytes_is_413(client: Client) -> None:
    response = post(client, b" " * (10 * 2**20 + 1))
    assert response.status_code == 413
    assert response.headers["Content-Type"] == "application/problem+json"


def test_the_same_key_gets_the_same_answer_and_dispatches_once(client: Client) -> None:
    first = post(client, {"count": 2}, **{"Idempotency-Key": "k1"})
    second = post(client, {"count": 2}, **{"Idempotency-Key": "k1"})
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert Task.objects.count() == 2


def test_the_same_key_with_another_request_is_a_conflict(client: Client) -> None:
    post(client, {"count": 2}, **{"Idempotency-Key": "k1"})
    response = post(client, {"count": 3}, **{"Idempotency-Key": "k1"})
    assert response.status_code == 422
    assert "used before" in culprits(response)["Idempotency-Key"]
    assert Task.objects.count() == 2


def test_one_callers_key_does_not_answer_for_anothers(api: ApiClient) -> None:
    first = post(api("dispatch"), {"count": 1}, **{"Idempotency-Key": "k1"})
    second = post(api("dispatch"), {"count": 1}, **{"Idempotency-Key": "k1"})
    assert first.json()["ids"] != second.json()["ids"]


@pytest.mark.parametrize("key", ["", "k" * 256, "clé", "a\tb"])
def test_a_key_that_is_no_key_is_refused(client: Client, key: str) -> None:
    response = post(client, {"count": 1}, **{"Idempotency-Key": key})
    assert response.status_code == 422
    assert "Idempotency-Key" in culprits(response)


def test_a_read_token_may_not(api: ApiClient) -> None:
    response = post(api("read"))
    assert response.status_code == 403
    assert "scope 'dispatch'" in response.json()["detail"]


def test_a_token_of_someone_without_the_permission_may_not(api: ApiClient, member: Any) -> None:
    response = post(api("read", "dispatch", user=member))
    assert response.status_code == 403
    assert "dispatch_task" in response.json()["detail"]
    assert not Task.objects.exists()


def test_someone_with_the_permission_may(api: ApiClient, member: Any) -> None:
    from django.contrib.auth.models import Permission

    member.user_permissions.add(Permission.objects.get(codename="dispatch_task"))
    assert post(api("dispatch", user=member)).status_code == 200


def test_a_stranger_is_told_how_to_authenticate(db: None) -> None:
    response = post(Client())
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_get_is_not_allowed(client: Client) -> None:
    response = client.get(PATH)
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_session_needs_the_csrf_token(admin: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    response = post(client)
    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]
    assert not Task.objects.exists()


def test_a_session_with_the_csrf_token_may(admin: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    client.get("/docs")
    token = client.cookies["csrftoken"].value
    assert post(client, **{"X-CSRFToken": token}).status_code == 200
    assert Batch.objects.get().sent_by == "root"


def test_the_first_events_are_written_with_the_rows(client: Client) -> None:
    ids = post(client, {"count": 3}).json()["ids"]
    assert {uuid.UUID(item) for item in ids} == set(TaskEvent.objects.values_list("task_id", flat=True))


def test_a_database_that_is_away_is_503_and_says_when_to_come_back(database_away: None) -> None:
    client = Client(headers={"X-API-Key": "zen_any"})
    response = post(client)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Content-Type"] == "application/problem+json"
