"""What is refused costs little: permission comes before the body, few of many mistakes are named, and refusals are counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from tests.integration.conftest import ApiClient
from zenith_site.common import jsonsafe
from zenith_site.env import Rate
from zenith_site.urls import api as zenith_api

#: Operations that change something, by method and path.
CHANGES = sorted(
    (
        method,
        path.replace("{name}", "nobody").replace("{verb}", "drain").replace("{", "").replace("}", ""),
        operation["operationId"],
    )
    for path, operations in zenith_api.get_openapi_schema()["paths"].items()
    for method, operation in operations.items()
    if method != "get"
)
#: The only one that takes no more than `read`.
TAKES_READ = "read_notifications"


def send(client: Client, body: str, path: str = "/tasks/trigger", method: str = "post") -> Any:
    return getattr(client, method)(path, data=body, content_type="application/json")


@pytest.mark.parametrize(("method", "path", "operation"), CHANGES)
def test_who_may_not_ask_hears_that_and_not_what_is_wrong_with_the_body(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch, method: str, path: str, operation: str
) -> None:
    bodies: list[bytes] = []
    monkeypatch.setattr(jsonsafe, "parse", bodies.append)
    client = api("dispatch" if operation == TAKES_READ else "read")
    assert send(client, '{"', path, method).status_code == 403
    assert bodies == []


def test_of_many_mistakes_a_few_are_named(api: ApiClient) -> None:
    body = json.dumps({f"unknown{number}": 1 for number in range(100)})
    answer = send(api("dispatch"), body)
    assert (answer.status_code, len(answer.json()["errors"])) == (422, jsonsafe.MAX_NAMED)


def test_a_body_of_nothing_but_mistakes_is_not_described(api: ApiClient) -> None:
    body = json.dumps({f"unknown{number}": 1 for number in range(100_000)})
    answer = send(api("dispatch"), body)
    assert answer.status_code == 422
    assert [error["detail"] for error in answer.json()["errors"]] == ["100000 problems found, too many to list"]


def test_refusals_beyond_their_limit_are_429_before_the_body_is_read(
    api: ApiClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ZENITH_REFUSAL_RATE_LIMIT = Rate(2, 60)
    client = api("read", "dispatch")
    assert [send(client, "{").status_code for _ in range(2)] == [422, 422]
    monkeypatch.setattr(jsonsafe, "parse", lambda _: pytest.fail("the body was read"))
    refused = send(client, "{")
    assert refused.status_code == 429
    assert refused.headers["RateLimit-Policy"] == '"refusals";q=2;w=60'
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert client.get("/tasks/all").status_code == 200


def test_what_may_not_be_done_counts_as_a_refusal(api: ApiClient, settings: Any) -> None:
    settings.ZENITH_REFUSAL_RATE_LIMIT = Rate(1, 60)
    client = api("read")
    refused = send(client, "{}")
    assert (refused.status_code, refused.headers["RateLimit"]) == (403, '"refusals";r=0;t=60')
    assert send(client, "{}").status_code == 403


def test_a_refusal_that_was_counted_as_a_trigger_is_not_counted_again(api: ApiClient, settings: Any) -> None:
    settings.ZENITH_REFUSAL_RATE_LIMIT = Rate(1, 60)
    client = api("dispatch")
    assert [send(client, '{"task": "no such task"}').status_code for _ in range(3)] == [422] * 3


def test_without_redis_the_permission_is_checked_all_the_same(api: ApiClient, redis_away: None) -> None:
    assert send(api("read"), "{").status_code == 403
    assert send(api("dispatch"), "{").status_code == 422
