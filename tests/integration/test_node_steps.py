"""The agent's steps on a fake engine: what it does in which order, and what it records."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from infra_app.agent.heartbeats import HeartbeatCache
from infra_app.agent.names import container_name
from infra_app.agent.node_reconciler import NodeReconciler
from infra_app.errors import EngineRefusedError, EngineUnreachableError
from infra_app.models import Host, Node, NodeGroup
from infra_app.states import Desired, NodeStatus
from infra_app.work import WorkerHeartbeat
from tests.fake_engine import STARTED, FakeEngine
from zenith_site.common.errors import StateConflictError

pytestmark = pytest.mark.django_db


class FakeWork:
    """Fake workers and their heartbeats."""

    def __init__(self) -> None:
        self.newest: dict[str, WorkerHeartbeat] = {}
        self.drained: list[str] = []
        self.refuses = False

    def heartbeats(self) -> dict[str, WorkerHeartbeat]:
        return self.newest

    def drain(self, worker: str) -> None:
        self.drained.append(worker)
        if self.refuses:
            raise StateConflictError("It does not answer.")

    def is_heard(self, node: Node, *queues: str, held: int = 0) -> None:
        """Let a node's worker send a heartbeat."""
        self.newest[node.worker] = WorkerHeartbeat(node.worker, True, queues, 1, held, held, STARTED.timestamp() + 1)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(images={"zenith:latest"})


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> FakeWork:
    fake = FakeWork()
    monkeypatch.setattr("infra_app.work.worker_heartbeats", fake.heartbeats)
    monkeypatch.setattr("infra_app.work.drain", fake.drain)
    return fake


@pytest.fixture
def host() -> Host:
    return Host.objects.create(name="alpha", address="unix:///nowhere")


@pytest.fixture
def reconciler(engine: FakeEngine, host: Host, work: FakeWork, settings: Any) -> NodeReconciler:
    settings.ZENITH_NODE_REDIS_URL = "redis://:redispassword@172.17.0.1:6379/0"
    heartbeats = HeartbeatCache()
    heartbeats.of = lambda worker: work.heartbeats().get(worker)  # type: ignore[method-assign]
    return NodeReconciler(engine, host.pk, host.key, heartbeats, lambda _: None)  # type: ignore[arg-type]


@pytest.fixture
def node(host: Host) -> Node:
    group = NodeGroup.objects.create(
        name="one",
        image="zenith:latest",
        queues=["a", "b"],
        concurrency=3,
        environment={"APP_SHOP": "x"},
        secrets={"APP_KEY": "secret"},
    )
    return Node.objects.create(group=group, name="one", host=host)


def order(node: Node, **values: Any) -> None:
    Node.objects.filter(pk=node.pk).update(generation=F("generation") + 1, **values)


def settle(reconciler: NodeReconciler, node: Node) -> Any:
    requeue_at = reconciler.reconcile(node.pk)
    node.refresh_from_db()
    return requeue_at


def kinds(node: Node) -> list[str]:
    return [event.kind for event in node.events.order_by("id")]


def test_a_new_node_is_created_given_its_secrets_and_started(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine, host: Host
) -> None:
    assert settle(reconciler, node) is not None
    assert engine.did == ["create", "write secrets", "start"]
    assert (node.status, node.reason, node.observed_generation, node.observed_revision) == (
        NodeStatus.STARTING,
        "Its container is running, but its worker sends no heartbeat.",
        1,
        1,
    )
    assert (node.container_id, node.image_id, node.started_at) == ("c1", "sha256:zenith:latest", STARTED)
    spec = engine.specs[container_name(node.pk)]
    assert spec.command == ("worker", "--queues=a,b", "--concurrency=3")
    assert spec.labels["io.zenith.host"] == str(host.key)
    assert spec.environment["ZENITH_WORKER_NAME"] == f"one@{node.pk}"
    assert spec.environment["APP_SHOP"] == "x"
    assert spec.environment["REDIS_URL_FILE"] == "/run/zenith/REDIS_URL"
    assert set(engine.files["c1"]) == {"REDIS_URL", "ZENITH_SECRET_KEY", "APP_KEY"}
    assert not [value for value in spec.environment.values() if "password" in value or value == "secret"]
    assert "password" not in repr(spec)
    assert kinds(node) == ["created", "started"]


def test_variables_from_before_are_left_out_and_the_node_says_so(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine
) -> None:
    NodeGroup.objects.update(environment={"LD_PRELOAD": "/x.so", "APP_SHOP": "x"}, secrets={"SHOP_KEY": "secret"})
    settle(reconciler, node)
    assert not {"LD_PRELOAD", "SHOP_KEY_FILE"} & engine.specs[container_name(node.pk)].environment.keys()
    assert "SHOP_KEY" not in engine.files["c1"]
    assert [event.message.split(",")[0] for event in node.events.filter(kind="left out").order_by("id")] == [
        "LD_PRELOAD may not be set",
        "SHOP_KEY is not allowed; ZENITH_NODE_ENVIRONMENT allows: APP_*",
    ]


def test_it_is_ready_once_its_worker_is_heard(reconciler: NodeReconciler, node: Node, work: FakeWork, engine: FakeEngine) -> None:
    work.is_heard(node, "a", "b")
    assert settle(reconciler, node) is None
    assert (node.status, node.reason) == (NodeStatus.READY, "")
    assert node.ready_at is not None
    assert settle(reconciler, node) is None
    assert engine.did == ["create", "write secrets", "start"]
    assert kinds(node) == ["created", "started", "ready"]


def test_looking_again_writes_nothing(
    reconciler: NodeReconciler, node: Node, work: FakeWork, django_assert_num_queries: Any
) -> None:
    work.is_heard(node, "a")
    settle(reconciler, node)
    with django_assert_num_queries(1):
        reconciler.reconcile(node.pk)


def test_an_image_that_is_not_there_is_pulled(reconciler: NodeReconciler, node: Node, engine: FakeEngine) -> None:
    engine.images, engine.pullable = set(), {"zenith:latest"}
    settle(reconciler, node)
    assert engine.did[:2] == ["pull", "create"]
    assert kinds(node) == ["pulling", "created", "started"]


def test_one_that_cannot_be_pulled_fails_with_the_reason_and_is_tried_ever_later(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine
) -> None:
    engine.images, engine.fails = set(), {"pull": EngineRefusedError("no such host")}
    requeue_at = settle(reconciler, node)
    assert node.status == NodeStatus.FAILED
    assert "could not be pulled: no such host" in node.reason
    assert node.retry_at == requeue_at
    assert settle(reconciler, node) == requeue_at
    Node.objects.update(retry_at=requeue_at - timedelta(hours=1))
    settle(reconciler, node)
    assert node.falls == 2


def test_a_node_that_cannot_reach_the_broker_says_what_to_set(
    reconciler: NodeReconciler, node: Node, settings: Any, engine: FakeEngine
) -> None:
    settings.ZENITH_NODE_REDIS_URL = "redis://:x@127.0.0.1:6379/0"
    settle(reconciler, node)
    assert node.status == NodeStatus.FAILED
    assert (
        node.reason
        == "REDIS_URL points at 127.0.0.1, which inside a container is the container itself: set ZENITH_NODE_REDIS_URL."
    )
    settings.ZENITH_NODE_REDIS_URL = ""
    order(node)
    settle(reconciler, node)
    assert node.reason.startswith("Nodes cannot reach REDIS_URL")
    assert engine.did == []


def test_an_end_is_noted_in_words_with_the_last_lines_and_it_is_started_again(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine
) -> None:
    settle(reconciler, node)
    engine.ends("c1", 137, oom_killed=True)
    settle(reconciler, node)
    assert (node.exit_code, node.oom_killed, node.restarts, node.falls) == (137, True, 1, 1)
    assert node.log_tail == "2026-01-01T12:00:00.000000001Z password=*** last words"
    assert node.reason == "Its container is running, but its worker sends no heartbeat."
    assert kinds(node)[-2:] == ["out-of-memory", "restarted"]
    assert engine.did[-2:] == ["write secrets", "start"]


def test_one_that_ends_again_and_again_fails_and_waits(reconciler: NodeReconciler, node: Node, engine: FakeEngine) -> None:
    settle(reconciler, node)
    for number in range(1, 4):
        engine.ends("c1", 1, after=float(number))
        Node.objects.update(retry_at=None)
        settle(reconciler, node)
    assert node.status == NodeStatus.FAILED
    assert node.reason == "exited with status 1, 3 times in a row; restarting in 4 s."
    done = len(engine.did)
    settle(reconciler, node)
    assert len(engine.did) == done
    order(node)
    settle(reconciler, node)
    assert engine.did[-1] == "start"
    assert node.falls == 0


def test_a_restart_replaces_the_container(reconciler: NodeReconciler, node: Node, engine: FakeEngine) -> None:
    settle(reconciler, node)
    order(node, revision=2)
    settle(reconciler, node)
    assert engine.did[3:] == ["stop", "remove", "create", "write secrets", "start"]
    assert (node.observed_revision, node.restarts) == (2, 0)


def test_draining_tells_once_waits_and_stops(reconciler: NodeReconciler, node: Node, engine: FakeEngine, work: FakeWork) -> None:
    work.is_heard(node, "a", held=1)
    settle(reconciler, node)
    order(node, desired=Desired.DRAINED)
    settle(reconciler, node)
    settle(reconciler, node)
    assert work.drained == [node.worker]
    assert (node.status, node.observed_generation) == (NodeStatus.DRAINING, 2)
    work.is_heard(node, held=1)
    settle(reconciler, node)
    assert node.reason == "Finishing one task."
    assert "stop" not in engine.did
    work.is_heard(node)
    settle(reconciler, node)
    assert engine.did[-1] == "stop"
    assert node.status == NodeStatus.STOPPED
    assert kinds(node)[-3:] == ["draining", "stopping", "stopped"]


def test_a_worker_that_cannot_be_told_is_told_again(reconciler: NodeReconciler, node: Node, work: FakeWork) -> None:
    work.is_heard(node, "a")
    work.refuses = True
    settle(reconciler, node)
    order(node, desired=Desired.DRAINED)
    settle(reconciler, node)
    assert node.status == NodeStatus.DRAINING
    reconciler._drain_sent_at.clear()
    settle(reconciler, node)
    assert len(work.drained) == 2


def test_removing_stops_removes_and_keeps_the_row(reconciler: NodeReconciler, node: Node, engine: FakeEngine) -> None:
    settle(reconciler, node)
    order(node, desired=Desired.REMOVED)
    settle(reconciler, node)
    assert engine.did[3:] == ["stop", "remove"]
    assert engine.containers == {}
    assert (node.status, node.container_id) == (NodeStatus.REMOVED, "")
    assert node.finished_at is not None
    assert reconciler.reconcile(node.pk) is None


def test_a_container_of_that_name_that_it_did_not_make_is_left_alone(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine
) -> None:
    settle(reconciler, node)
    engine.change("c1", labels={"io.zenith.host": "another"})
    settle(reconciler, node)
    assert node.status == NodeStatus.FAILED
    assert "did not create" in node.reason
    order(node, desired=Desired.REMOVED)
    settle(reconciler, node)
    assert node.status == NodeStatus.REMOVED
    assert engine.did == ["create", "write secrets", "start"]


def test_an_update_to_an_image_that_cannot_be_had_leaves_the_old_container_at_work(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine, work: FakeWork
) -> None:
    work.is_heard(node, "a")
    settle(reconciler, node)
    NodeGroup.objects.update(image="zenith:next")
    order(node, revision=2)
    engine.fails = {"pull": EngineRefusedError("no such host")}
    settle(reconciler, node)
    assert node.status == NodeStatus.FAILED
    assert "Image zenith:next is not on this host" in node.reason
    assert engine.containers[container_name(node.pk)].running
    engine.images.add("zenith:next")
    order(node)
    settle(reconciler, node)
    assert engine.did[3:] == ["stop", "remove", "create", "write secrets", "start"]
    assert (node.image_id, node.status) == ("sha256:zenith:next", NodeStatus.READY)


def test_an_engine_that_is_away_changes_nothing(reconciler: NodeReconciler, node: Node, engine: FakeEngine) -> None:
    engine.fails = {"find": EngineUnreachableError("gone")}
    with pytest.raises(EngineUnreachableError):
        reconciler.reconcile(node.pk)
    node.refresh_from_db()
    assert (node.status, node.observed_generation) == (NodeStatus.PENDING, 0)


def test_a_container_that_cannot_be_started_says_the_engines_reason(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine
) -> None:
    engine.fails = {"start": EngineRefusedError("no such program")}
    settle(reconciler, node)
    assert (node.status, node.reason) == (NodeStatus.FAILED, "no such program")
    engine.fails = {}
    order(node)
    settle(reconciler, node)
    assert node.status == NodeStatus.STARTING
    assert engine.did == ["create", "write secrets", "write secrets", "start"]


def test_a_container_that_the_engine_refuses_to_start_twice_is_replaced(
    reconciler: NodeReconciler, node: Node, engine: FakeEngine
) -> None:
    settle(reconciler, node)
    engine.ends("c1", 137)
    engine.fails = {"start": EngineRefusedError("task c1: already exists")}
    settle(reconciler, node)
    assert (node.status, next(iter(engine.containers.values())).id, node.restarts) == (NodeStatus.FAILED, "c1", 0)
    Node.objects.update(retry_at=None)
    settle(reconciler, node)
    assert (node.status, node.reason, engine.containers, node.restarts) == (NodeStatus.FAILED, "task c1: already exists", {}, 1)
    engine.fails = {}
    Node.objects.update(retry_at=None)
    settle(reconciler, node)
    assert (node.status, node.restarts) == (NodeStatus.STARTING, 1)
    assert engine.did[-4:] == ["remove", "create", "write secrets", "start"]
    assert kinds(node)[-4:] == ["failed", "given up", "created", "started"]


def test_nodes_of_other_hosts_are_none_of_its_business(reconciler: NodeReconciler, node: Node, engine: FakeEngine) -> None:
    Node.objects.update(host=Host.objects.create(name="beta", address="unix:///nowhere"))
    assert reconciler.reconcile(node.pk) is None
    assert engine.did == []
