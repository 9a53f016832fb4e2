"""The infrastructure paths of the contract: closed like the rest, and honest about there being no Docker host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.conftest import ApiClient


@pytest.mark.parametrize(("method", "path"), [("post", "/deploy"), ("get", "/api/inventory"), ("get", "/api/network")])
def test_without_a_docker_host_it_is_503(api: ApiClient, method: str, path: str) -> None:
    response = getattr(api("read", "infra"), method)(path, content_type="application/json")
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"]
    assert response.json()["detail"].startswith("No Docker host is online.")


def test_deploying_takes_the_permission_to_operate(api: ApiClient, member: Any) -> None:
    response = api("infra", user=member).post("/deploy", content_type="application/json")
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"concurrency": 0}, "/concurrency"), ({"name": "A b"}, "/name"), ({"queues": [""]}, "/queues/0"), ({"size": 1}, "/size"),
     ({"memory_mb": 1}, "/memory_mb"), ({"replicas": "two"}, "/replicas")],
)  # fmt: skip
def test_a_wrong_order_is_named_before_anything_else(api: ApiClient, body: Any, pointer: str) -> None:
    response = api("infra").post("/deploy", data=json.dumps(body), content_type="application/json")
    assert response.status_code == 422
    assert [item["pointer"] for item in response.json()["errors"]] == [pointer]
