"""The commands of nodes: what they print, what they refuse, and their exit statuses."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from infra_app import log_stream, nodes
from infra_app.log_stream import Line
from infra_app.models import Host, Node, NodeGroup
from infra_app.states import NodeStatus
from infra_app.validation import Deployment
from tests.hosts import HELD, host, observed, snapshot
from zenith_worker.wire import stream

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    stream.client().flushdb()
    monkeypatch.setenv("USER", "ada")


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def fails(status: int, *words: str) -> str:
    with pytest.raises(CommandError) as error:
        run(*words)
    assert error.value.returncode == status
    return str(error.value)


def deploy(**changes: Any) -> NodeGroup:
    if not Host.objects.exists():
        host()
    return nodes.deploy(Deployment(**{"name": "reports", **changes}), "ada")


def test_nodes_are_deployed_with_every_option() -> None:
    host("zen-01", region="eu", labels={"disk": "ssd"})
    answer = json.loads(run(
        "deploy_node", "reports", "--replicas", "2", "--queues", "reports,mail", "--concurrency", "4", "--memory-mb", "256",
        "--cpus", "0.5", "--host", "zen-01", "--region", "eu", "--label", "disk=ssd", "--env", "APP_A=b=c",
        "--restart-policy", "no", "--json",
    ))  # fmt: skip
    group = NodeGroup.objects.get()
    assert [node["name"] for node in answer["nodes"]] == ["reports", "reports-2"]
    assert (group.queues, group.environment, group.labels) == (["reports", "mail"], {"APP_A": "b=c"}, {"disk": "ssd"})
    assert (group.concurrency, group.memory_mb, group.cpus, group.restart_policy) == (4, 256, 0.5, "no")
    assert group.created_by == "ada (command)"


def test_without_options_it_says_what_it_made() -> None:
    host()
    assert "is starting: 0 of 1 nodes ready." in run("deploy_node")


def test_a_deploy_that_cannot_be_says_why_with_its_status() -> None:
    assert fails(1, "deploy_node") == "No Docker host is online."
    host()
    assert "/image: 'alpine' is not allowed" in fails(2, "deploy_node", "--image", "alpine")
    assert "/environment/LD_PRELOAD: LD_PRELOAD may not be set" in fails(2, "deploy_node", "--env", "LD_PRELOAD=x")
    assert run("deploy_node", "a", "--dry-run") == "The group can be deployed.\n"
    assert not NodeGroup.objects.exists()
    run("deploy_node", "a")
    assert "already" in fails(1, "deploy_node", "a")


def test_waiting_ends_with_what_came_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host()
    assert "not done within 0.1 s" in fails(1, "deploy_node", "a", "--wait", "0.1")

    def fail(seconds: float) -> None:
        observed(Node.objects.latest("id"), NodeStatus.FAILED, reason="no such image")

    monkeypatch.setattr("infra_app.waiting.time.sleep", fail)
    assert fails(1, "deploy_node", "b", "--wait") == "b: no such image"
    monkeypatch.setattr("infra_app.waiting.time.sleep", lambda _: observed(Node.objects.latest("id")))
    assert "c is running: 1 of 1 nodes ready." in run("deploy_node", "c", "--wait", "30")


def test_nodes_are_listed() -> None:
    assert "deploy_node" in run("nodes")
    first, second = deploy(replicas=2).nodes.order_by("id")
    observed(first, cpu_percent=12, memory_bytes=100 << 20)
    nodes.act("stop", [second.id], "ada")
    lines = run("nodes").splitlines()
    assert lines[0].split() == ["reports", "READY", "zen-01", "12", "%", "100", "MB", "—"]
    assert lines[1].endswith("desired: stopped")
    assert [node["name"] for node in json.loads(run("nodes", "--json", "--status", "ready"))] == ["reports"]
    assert json.loads(run("nodes", "--json", "--host", "zen-02")) == json.loads(run("nodes", "--json", "--group", "x")) == []


def test_a_group_is_scaled_by_name() -> None:
    group = deploy()
    assert run("scale_node", "reports", "3", "--dry-run") == "reports: 1 -> 3\n"
    assert run("scale_node", "reports", "3").splitlines() == ["reports: 1 -> 3", "+ reports-2", "+ reports-3"]
    answer = json.loads(run("scale_node", str(group.id), "1", "--json"))
    assert (answer["before"], len(answer["leaving"]), answer["group"]["replicas"]) == (3, 2, 1)
    assert "there is no group 'nobody'" in fails(2, "scale_node", "nobody", "1")
    assert "/replicas" in fails(2, "scale_node", "reports", "101")


@pytest.mark.parametrize(("command", "desired"), [("drain_node", "DRAINED"), ("remove_node", "REMOVED")])
def test_acting_asks_first(command: str, desired: str) -> None:
    node = deploy().nodes.get()
    assert "Add --yes" in fails(2, command, "reports")
    verb = command.partition("_")[0]
    assert run(command, "reports", "--dry-run") == f"{verb}: reports\n"
    assert run(command, "reports", "--yes") == f"{verb}: reports\n"
    node.refresh_from_db()
    assert node.desired == desired
    assert node.events.latest("id").message == f"{verb} requested by ada (command)"
    assert "not possible" in fails(1, command, str(node.id), "--yes")
    assert "there is no node 'nobody'" in fails(2, command, "nobody", "--yes")


def test_acting_says_as_json_what_was_done() -> None:
    first, second = deploy(replicas=2).nodes.order_by("id")
    answer = json.loads(run("drain_node", "reports", "reports-2", "--yes", "--json"))
    assert [node["id"] for node in answer["done"]] == [str(first.id), str(second.id)]


def test_a_log_is_printed_and_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (f"2026-01-01T00:00:0{second}Z" for second in (1, 2, 3))
    node = observed(deploy().nodes.get())
    log_stream.append(node.id, [Line(one, "stdout", "one"), Line(two, "stderr", "two token=s3cret")])
    assert run("node_logs", "reports", "--lines", "1") == f"{two} two token=***\n"
    line = json.loads(run("node_logs", "reports", "-n", "1", "--json"))
    assert line == {"at": two, "stream": "stderr", "text": "two token=***"}

    def end(seconds: float) -> None:
        log_stream.append(node.id, [Line(three, "stdout", "three")])
        observed(node, NodeStatus.STOPPED)

    monkeypatch.setattr("infra_app.management.commands.node_logs.time.sleep", end)
    assert run("node_logs", "reports", "--follow").splitlines() == [f"{one} one", f"{two} two token=***", f"{three} three"]


def test_of_a_node_that_is_gone_the_end_of_the_log_is_kept() -> None:
    node = observed(deploy().nodes.get(), NodeStatus.REMOVED, log_tail="2026-01-01T00:00:00Z the end")
    assert run("node_logs", str(node.id)) == "2026-01-01T00:00:00Z the end\n"
    empty = observed(deploy(name="mail").nodes.get(), NodeStatus.STOPPED)
    assert "has logged nothing" in fails(1, "node_logs", str(empty.id))


def test_the_inventory_is_listed() -> None:
    assert "manage.py run_agent" in run("inventory")
    snapshot(host("zen-01"), **HELD)
    assert len(run("inventory").splitlines()) == 5
    assert [held["type"] for held in json.loads(run("inventory", "--json", "--dangling"))] == ["image"]
    assert [held["used_by"] for held in json.loads(run("inventory", "--json", "--kind", "volume"))] == [["reports"]]
    assert json.loads(run("inventory", "--json", "--host", "zen-02")) == []
