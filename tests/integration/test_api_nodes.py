"""`/api/v1/nodes`, `/groups` and `/hosts`: read, act, scale, change; permissions, and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from infra_app import log_stream, nodes
from infra_app.log_stream import Line
from infra_app.models import Host, Node, NodeGroup, NodeSample
from infra_app.states import NodeStatus
from infra_app.validation import Deployment
from tests.hosts import host, observed
from tests.integration.conftest import ApiClient
from zenith_site.models import AuditEntry
from zenith_worker.wire import stream

pytestmark = pytest.mark.django_db
NODES, GROUPS, HOSTS = "/api/v1/nodes", "/api/v1/groups", "/api/v1/hosts"


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def client(api: ApiClient) -> Client:
    return api("read", "infra")


def deploy(**changes: Any) -> NodeGroup:
    if not Host.objects.exists():
        host()
    return nodes.deploy(Deployment(**{"name": "reports", **changes}), "ada")


def send(client: Client, path: str, body: Any = None, method: str = "post") -> Any:
    data = "" if body is None else json.dumps(body)
    return getattr(client, method)(path, data=data, content_type="application/json")


def pointers(response: Any) -> list[str]:
    assert response.status_code == 422, response.content
    return [item.get("pointer") or item["parameter"] for item in response.json()["errors"]]


# --- Nodes ---


def test_nodes_are_listed_by_name_and_filtered(client: Client) -> None:
    deploy(
        replicas=2, environment={"APP_TOKEN": "s3cret", "APP_BROKER": "redis://u:hidden@host/0"}, secrets={"APP_KEY": "s3cret"}
    )
    deploy(name="mail", queues=("mail",))
    observed(Node.objects.get(name="mail"))
    answer = client.get(NODES)
    assert [node["name"] for node in answer.json()] == ["mail", "reports", "reports-2"]
    assert "s3cret" not in answer.content.decode()
    assert "hidden" not in answer.content.decode()
    assert answer.json()[1]["environment"] == {"APP_TOKEN": "***", "APP_BROKER": "redis://u:***@host/0"}
    assert answer.json()[1]["secrets"] == ["APP_KEY"]
    for query, names in (
        ("status=READY", ["mail"]),
        ("group=reports&limit=1", ["reports"]),
        ("host=zen-01", ["mail", "reports", "reports-2"]),
        ("host=zen-02", []),
    ):
        assert [node["name"] for node in client.get(f"{NODES}?{query}").json()] == names
    assert pointers(client.get(f"{NODES}?statuss=READY")) == ["statuss"]


def test_a_node_of_an_unreachable_host_is_unknown(client: Client) -> None:
    group = deploy()
    node = observed(group.nodes.get())
    assert client.get(f"{NODES}/{node.id}").json()["status"] == "READY"
    host(seen_at=timezone.now() - timedelta(seconds=16))
    answer = client.get(f"{NODES}/{node.id}").json()
    assert (answer["status"], answer["desired"]) == ("UNKNOWN", "RUNNING")
    assert answer["sentence"].startswith("Its host is unreachable")
    assert answer["actions"] == ["drain", "remove", "restart", "stop", "update"]


@pytest.mark.parametrize("path", ["", "/events", "/samples", "/logs"])
def test_an_unknown_node_is_404(client: Client, path: str) -> None:
    for id_ in (uuid4(), "nonsense"):
        assert client.get(f"{NODES}/{id_}{path}").status_code == 404


def test_a_node_is_acted_on_and_again_is_409(client: Client) -> None:
    node = deploy().nodes.get()
    answer = send(client, f"{NODES}/{node.id}/drain")
    assert (answer.status_code, answer.json()["desired"]) == (200, "DRAINED")
    again = send(client, f"{NODES}/{node.id}/drain")
    assert (again.status_code, again.json()["detail"]) == (409, "The desired state of reports is drained: drain is not possible.")
    assert send(client, f"{NODES}/{node.id}/explode").status_code == 422
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.detail) == ("POST /api/v1/nodes/<node_id>/<verb>", {"node": "reports", "verb": "drain"})


def test_many_are_acted_on_and_each_refusal_is_named(client: Client) -> None:
    first, second = deploy(replicas=2).nodes.order_by("id")
    nodes.act("stop", [first.id], "ada")
    strange = uuid4()
    answer = send(client, f"{NODES}/act", {"verb": "stop", "ids": [str(id_) for id_ in (first.id, second.id, strange)]}).json()
    assert [node["id"] for node in answer["done"]] == [str(second.id)]
    assert answer["refused"] == [
        {"id": str(first.id), "reason": "The desired state of reports is stopped: stop is not possible."},
        {"id": str(strange), "reason": "There is no such node."},
    ]
    assert pointers(send(client, f"{NODES}/act", {"verb": "stop", "ids": []})) == ["/ids"]


def test_events_and_samples_come_newest_first(client: Client) -> None:
    node = deploy().nodes.get()
    now = timezone.now()
    for age in (2, 1):
        NodeSample.objects.create(
            node=node, at=now - timedelta(seconds=age), cpu_percent=age, memory_bytes=1, network_rx_bytes=0, network_tx_bytes=0
        )
    assert [event["kind"] for event in client.get(f"{NODES}/{node.id}/events").json()] == ["placed", "deployed"]
    assert [sample["cpu_percent"] for sample in client.get(f"{NODES}/{node.id}/samples?limit=1").json()] == [1.0]


def test_a_log_is_followed_by_the_id_of_its_last_line(client: Client) -> None:
    node = observed(deploy().nodes.get())
    path = f"{NODES}/{node.id}/logs"
    assert client.get(path).json() == {"lines": [], "after": "", "kept": False}
    assert log_stream.watched([node.id]) == {node.id}
    log_stream.append(node.id, [Line("2026-01-01T00:00:00Z", "stdout", f"line {number} password=s3cret") for number in range(3)])
    first = client.get(f"{path}?limit=2").json()
    assert [line["text"] for line in first["lines"]] == ["line 1 password=***", "line 2 password=***"]
    log_stream.append(node.id, [Line("", "stderr", "more")])
    assert [line["text"] for line in client.get(f"{path}?after={first['after']}").json()["lines"]] == ["more"]
    assert pointers(client.get(f"{path}?after=x")) == ["after"]


def test_of_a_container_that_ended_the_last_lines_are_kept(client: Client) -> None:
    node = observed(deploy().nodes.get(), NodeStatus.FAILED, log_tail="2026-01-01T00:00:00Z one\ntwo token=s3cret")
    answer = client.get(f"{NODES}/{node.id}/logs").json()
    assert (answer["kept"], [line["text"] for line in answer["lines"]]) == (True, ["one", "two token=***"])
    assert answer["lines"][0]["at"] == "2026-01-01T00:00:00Z"
    assert log_stream.watched([node.id]) == set()


# --- Groups ---


def test_a_group_is_shown_with_how_many_are_ready(client: Client) -> None:
    group = deploy(replicas=2)
    observed(group.nodes.order_by("id")[0])
    (listed,) = client.get(GROUPS).json()
    assert (listed["name"], listed["replicas"], listed["ready"], listed["queues"]) == ("reports", 2, 1, ["default"])
    assert client.get(f"{GROUPS}/{group.id}").json() == listed


def test_a_group_is_scaled(client: Client) -> None:
    group = deploy()
    answer = send(client, f"{GROUPS}/{group.id}/scale", {"replicas": 3}).json()
    assert (answer["before"], answer["group"]["replicas"]) == (1, 3)
    assert [node["name"] for node in answer["added"]] == ["reports-2", "reports-3"]
    assert pointers(send(client, f"{GROUPS}/{group.id}/scale", {"replicas": 101})) == ["/replicas"]
    assert pointers(send(client, f"{GROUPS}/{group.id}/scale", {"replicas": "3"})) == ["/replicas"]


def test_what_a_group_runs_is_changed(client: Client) -> None:
    group = deploy()
    answer = send(client, f"{GROUPS}/{group.id}", {"concurrency": 8, "environment": {"APP_A": "b"}}, "patch").json()
    assert (answer["concurrency"], answer["environment"], answer["queues"]) == (8, {"APP_A": "b"}, ["default"])
    assert group.nodes.get().revision == 2
    assert pointers(send(client, f"{GROUPS}/{group.id}", {"image": "alpine"}, "patch")) == ["/image"]
    assert pointers(send(client, f"{GROUPS}/{group.id}", {"privileged": True}, "patch")) == ["/privileged"]


def test_a_group_is_removed(client: Client) -> None:
    group = deploy(replicas=2)
    assert len(send(client, f"{GROUPS}/{group.id}", method="delete").json()["done"]) == 2
    assert client.get(f"{GROUPS}/{group.id}").status_code == 404
    assert send(client, f"{GROUPS}/{group.id}/scale", {"replicas": 1}).status_code == 404
    assert client.get(GROUPS).json() == []


def test_a_group_follows_a_queue(client: Client) -> None:
    group = deploy(queues=("reports", "mail"))
    rules = {"min_replicas": 1, "max_replicas": 5, "target_seconds": 30, "dry_run": True}
    answer = send(client, f"{GROUPS}/{group.id}/autoscale", rules, "put").json()
    assert {name: answer[name] for name in rules} == rules
    assert (answer["autoscale"], answer["scale_queue"]) == (True, "reports")
    wrong = {"max_replicas": 0, "target_seconds": 0, "scale_queue": "a b"}
    assert pointers(send(client, f"{GROUPS}/{group.id}/autoscale", wrong, "put")) == [
        "/scale_queue", "/max_replicas", "/target_seconds",
    ]  # fmt: skip
    bounds = {"min_replicas": 3, "max_replicas": 2}
    assert pointers(send(client, f"{GROUPS}/{group.id}/autoscale", bounds, "put")) == ["/max_replicas"]


@pytest.mark.parametrize("id_", [UUID(int=0), "nonsense"])
def test_an_unknown_group_is_404(client: Client, id_: object) -> None:
    assert client.get(f"{GROUPS}/{id_}").status_code == 404
    assert send(client, f"{GROUPS}/{id_}/scale", {"replicas": 1}).status_code == 404
    assert send(client, f"{GROUPS}/{id_}", {}, "patch").status_code == 404
    assert send(client, f"{GROUPS}/{id_}", method="delete").status_code == 404


# --- Hosts ---


def test_a_host_is_shown_and_changed(client: Client) -> None:
    deploy(replicas=2)
    (listed,) = client.get(HOSTS).json()
    assert (listed["name"], listed["online"], listed["nodes"], listed["cordoned"]) == ("zen-01", True, 2, False)
    changes = {"cordoned": True, "region": "eu-1", "labels": {"disk": "ssd"}}
    answer = send(client, f"{HOSTS}/zen-01", changes, "patch").json()
    assert {name: answer[name] for name in changes} == changes
    assert send(client, f"{HOSTS}/zen-01", {"cordoned": False}, "patch").json()["region"] == "eu-1"
    assert pointers(send(client, f"{HOSTS}/zen-01", {"region": "a b"}, "patch")) == ["/region"]
    assert pointers(send(client, f"{HOSTS}/zen-01", {"labels": {"a b": "c"}}, "patch")) == ["/labels/a b"]
    assert client.get(f"{HOSTS}/zen-09").status_code == 404


def test_changes_take_the_permission_to_manage_nodes(api: ApiClient, member: Any) -> None:
    group = deploy()
    stranger = api("read", "infra", user=member)
    assert stranger.get(NODES).status_code == 200
    for path, body, method in (
        (f"{NODES}/{group.nodes.get().id}/stop", None, "post"),
        (f"{GROUPS}/{group.id}/scale", {"replicas": 2}, "post"),
        (f"{HOSTS}/zen-01", {"cordoned": True}, "patch"),
    ):
        assert send(stranger, path, body, method).status_code == 403


def test_lists_take_few_queries_however_many_there_are(client: Client, django_assert_max_num_queries: Any) -> None:
    deploy(replicas=30)
    for path in (NODES, GROUPS, HOSTS):
        with django_assert_max_num_queries(6):
            assert client.get(path).status_code == 200
