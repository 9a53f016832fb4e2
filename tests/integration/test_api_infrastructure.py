"""The infrastructure paths of the contract: deploy, inventory and network."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from infra_app.models import Node, NodeGroup
from tests.hosts import CONTAINER, HELD, host, observed, snapshot
from tests.integration.conftest import ApiClient
from zenith_site.models import AuditEntry

pytestmark = pytest.mark.django_db


def deploy(client: Client, body: Any = None, path: str = "/deploy", **headers: str) -> Any:
    data = "" if body is None else json.dumps(body)
    return client.post(path, data=data, content_type="application/json", headers=headers)


@pytest.mark.parametrize(("method", "path"), [("post", "/deploy"), ("get", "/api/inventory"), ("get", "/api/network")])
def test_without_a_docker_host_it_is_503(api: ApiClient, method: str, path: str) -> None:
    response = getattr(api("read", "infra"), method)(path, content_type="application/json")
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"]
    assert response.json()["detail"].startswith("No Docker host is online.")


def test_deploying_takes_the_permission_to_manage_nodes(api: ApiClient, member: Any) -> None:
    response = api("infra", user=member).post("/deploy", content_type="application/json")
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"concurrency": 0}, "/concurrency"),
        ({"name": "A b"}, "/name"),
        ({"name": ""}, "/name"),
        ({"queues": [""]}, "/queues/0"),
        ({"size": 1}, "/size"),
        ({"memory_mb": 1}, "/memory_mb"),
        ({"replicas": "two"}, "/replicas"),
        ({"privileged": True}, "/privileged"),
        ({"mounts": ["/:/host"]}, "/mounts"),
        ({"volumes": {}}, "/volumes"),
        ({"image": "alpine"}, "/image"),
        ({"environment": {"APP_A": 1}}, "/environment/APP_A"),
        ({"environment": {"REDIS_URL": "x"}}, "/environment/REDIS_URL"),
        ({"environment": {"LD_PRELOAD": "x"}}, "/environment/LD_PRELOAD"),
        ({"restart_policy": "maybe"}, "/restart_policy"),
        ({"host": "nowhere"}, "/host"),
    ],
)
def test_a_wrong_order_is_named_and_nothing_is_written(api: ApiClient, body: Any, pointer: str) -> None:
    host()
    response = deploy(api("infra"), body)
    assert response.status_code == 422
    assert [item["pointer"] for item in response.json()["errors"]] == [pointer]
    assert not NodeGroup.objects.exists()


def test_without_a_body_one_node_is_deployed(api: ApiClient) -> None:
    host()
    response = deploy(api("infra"))
    assert response.status_code == 202
    node = Node.objects.get()
    answer = response.json()
    assert (answer["status"], answer["node_id"]) == ("SUCCESS", str(node.id))
    assert answer["message"] == f"{node.name} is starting: 0 of 1 nodes ready."


def test_an_order_is_written_as_it_was_given(api: ApiClient) -> None:
    host("zen-01", region="eu", labels={"disk": "ssd"})
    order = {
        "name": "reports", "region": "eu", "queues": ["reports", "mail"], "concurrency": 4, "host": "zen-01", "replicas": 2,
        "memory_mb": 256, "cpus": 0.5, "labels": {"disk": "ssd"}, "environment": {"APP_SHOP": "eu"},
        "secrets": {"APP_KEY": "s3cret"}, "restart_policy": "on-failure",
    }  # fmt: skip
    answer = deploy(api("infra"), order)
    assert [(node["name"], node["status"], node["host"]) for node in answer.json()["nodes"]] == [
        ("reports", "PENDING", "zen-01"), ("reports-2", "PENDING", "zen-01"),
    ]  # fmt: skip
    group = NodeGroup.objects.get()
    assert {name: getattr(group, name) for name in order if name != "host"} == {
        name: order[name] for name in order if name != "host"
    }
    assert "s3cret" not in answer.content.decode()
    assert AuditEntry.objects.get().detail == {"group": "reports", "replicas": 2, "image": "zenith:latest"}


def test_the_same_order_twice_with_a_key_is_one(api: ApiClient) -> None:
    host()
    client = api("infra")
    first, second = (deploy(client, {"name": "reports"}, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert Node.objects.count() == 1
    assert deploy(client, {"name": "reports"}).status_code == 409


def test_waiting_ends_when_all_are_ready_or_the_time_is_over(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    host()
    client = api("infra")
    assert deploy(client, {"name": "a"}, "/deploy?wait=1").json()["message"] == "a is starting: 0 of 1 nodes ready."

    def get_ready(seconds: float) -> None:
        for node in Node.objects.all():
            observed(node)

    monkeypatch.setattr("infra_app.waiting.time.sleep", get_ready)
    answer = deploy(client, {"name": "b", "replicas": 2}, "/deploy?wait=60").json()
    assert answer["message"] == "b is running: 2 of 2 nodes ready."
    assert {node["status"] for node in answer["nodes"]} == {"READY"}
    assert deploy(client, None, "/deploy?wait=61").status_code == 422


def test_who_finds_no_room_is_accepted_and_told(api: ApiClient) -> None:
    host(cordoned=True)
    answer = deploy(api("infra"), {"name": "a"})
    assert answer.status_code == 202
    assert answer.json()["message"] == "a is waiting for a host. Every suitable host is cordoned."


def test_a_host_of_which_nobody_said_where_it_is_takes_nodes_of_any_region(api: ApiClient) -> None:
    host("zen-01", region="us")
    client = api("infra")
    waiting = deploy(client, {"name": "a", "region": "eu"}).json()
    assert waiting["message"] == "a is waiting for a host. No suitable host is in region eu."
    host("zen-02")
    assert deploy(client, {"name": "b", "region": "eu"}).json()["nodes"][0]["host"] == "zen-02"


def test_the_inventory_is_what_the_hosts_that_are_online_hold(api: ApiClient) -> None:
    snapshot(host("zen-01"), **HELD)
    snapshot(host("zen-02", seen_at=timezone.now() - timedelta(minutes=1)), **HELD)
    answer = api("read").get("/api/inventory").json()
    assert [(thing["type"], thing["name"], thing["status"], thing["size"], thing["host"]) for thing in answer] == [
        ("container", "reports", "running", 4096, "zen-01"),
        ("image", "a" * 12, "dangling", 7, "zen-01"),
        ("image", "zenith:latest", "in use", 8, "zen-01"),
        ("volume", "data", "in use", 9, "zen-01"),
        ("network", "zenith", "bridge", None, "zen-01"),
    ]


def test_the_network_is_the_containers_with_their_addresses(api: ApiClient) -> None:
    stopped = {**CONTAINER, "id": "c2", "name": "old", "status": "exited", "networks": [], "ports": []}
    snapshot(host("zen-01"), containers=[CONTAINER, stopped])
    running, exited = api("read").get("/api/network").json()
    assert running.pop("uptime") > 0
    assert running == {
        "id": "c1", "name": "reports", "ip": "172.18.0.5", "status": "running", "networks": ["zenith"], "host": "zen-01",
        "ports": CONTAINER["ports"],
    }  # fmt: skip
    assert (exited["ip"], exited["uptime"]) == (None, None)
