"""Groups as Swarm services on a fake swarm: created, changed, scaled and removed, and recorded as nodes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from infra_app.agent.heartbeats import HeartbeatCache
from infra_app.agent.names import slot_id
from infra_app.agent.swarm_services import SwarmServices
from infra_app.errors import EngineRefusedError
from infra_app.gateway.swarm import Service, ServiceSpec, ServiceTask
from infra_app.gateway.values import EngineInfo
from infra_app.models import Host, Node, NodeGroup
from infra_app.states import Desired, NodeStatus
from infra_app.work import WorkerHeartbeat

pytestmark = pytest.mark.django_db

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class FakeSwarm:
    """A fake Swarm manager."""

    there: dict[str, Service] = field(default_factory=dict)
    specs: dict[str, ServiceSpec] = field(default_factory=dict)
    kept: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    ran: list[ServiceTask] = field(default_factory=list)
    did: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def services(self, label: str) -> list[Service]:
        name, _, value = label.partition("=")
        return [service for service in self.there.values() if service.labels.get(name) == value]

    def tasks(self, service: str) -> list[ServiceTask]:
        return self.ran

    def create(self, spec: ServiceSpec) -> None:
        self._keep("create", spec)

    def update(self, service: Service, spec: ServiceSpec) -> None:
        self._keep("update", spec)

    def remove(self, service: str) -> None:
        self.did.append("remove")
        self.there = {}

    def secrets(self, label: str) -> dict[str, str]:
        name, _, value = label.partition("=")
        return {secret: f"id-{secret}" for secret, (_, labels) in self.kept.items() if labels.get(name) == value}

    def create_secret(self, name: str, content: str, labels: dict[str, str]) -> str:
        self.kept[name] = (content, labels)
        return f"id-{name}"

    def remove_secret(self, secret: str) -> None:
        name = secret.removeprefix("id-")
        if name in self.used:
            raise EngineRefusedError("in use")
        del self.kept[name]

    def ensure_network(self, name: str, labels: dict[str, str]) -> None:
        self.did.append(f"network {name}")

    def _keep(self, what: str, spec: ServiceSpec) -> None:
        self.did.append(what)
        self.specs[spec.name] = spec
        self.there[spec.name] = Service("s1", spec.name, 1, spec.labels, spec.replicas)


def task(slot: int, state: str = "running", desired_state: str = "running", **values: Any) -> ServiceTask:
    given = {"container": f"c{slot}", "exit_code": None, "error": "", "created_at": AT, "changed_at": AT, **values}
    return ServiceTask(id=f"t{slot}", slot=slot, swarm_node="n1", state=state, desired_state=desired_state, **given)


@pytest.fixture
def swarm() -> FakeSwarm:
    return FakeSwarm()


@pytest.fixture
def host() -> Host:
    return Host.objects.create(name="alpha", address="unix:///nowhere", swarm_node_id="n1", swarm_manager=True, region="here")


@pytest.fixture
def group(host: Host) -> NodeGroup:
    return NodeGroup.objects.create(
        name="flock", kind="SERVICE", host=host, replicas=2, image="zenith:latest", queues=["a"],
        environment={"APP_ODD": "{{not a template}}"}, secrets={"APP_KEY": "secret"},
    )  # fmt: skip


class Heard(HeartbeatCache):
    """Fake heartbeats."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def all(self) -> dict[str, WorkerHeartbeat]:
        return {name: WorkerHeartbeat(name, True, ("a",), 1, 0, 0, None) for name in self.names}


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def services(swarm: FakeSwarm, host: Host, heard: Heard, settings: Any) -> SwarmServices:
    settings.ZENITH_NODE_REDIS_URL = "redis://:redispassword@10.0.0.1:6379/0"
    info = EngineInfo("20", "Linux", "x86_64", 2, 1 << 30, "s", "n1", swarm_manager=True)
    return SwarmServices(swarm, host.pk, host.key, heard, lambda: info)  # type: ignore[arg-type]


def test_a_group_becomes_a_service_with_the_swarms_secrets(services: SwarmServices, group: NodeGroup, swarm: FakeSwarm) -> None:
    services._look()
    assert swarm.did == ["network zenith", "create"]
    spec = swarm.specs[f"zenith-{group.pk}"]
    assert (spec.replicas, spec.command) == (2, ("worker", "--queues=a", "--concurrency=1"))
    assert spec.environment["APP_KEY_FILE"] == "/run/secrets/APP_KEY"
    assert spec.environment["APP_ODD"] == '{{"{{"}}not a template}}'
    assert spec.environment["ZENITH_WORKER_NAME"].startswith("flock.{{.Task.Slot}}@")
    assert sorted(file for _, file in spec.secrets.values()) == ["APP_KEY", "REDIS_URL", "ZENITH_SECRET_KEY"]
    assert {content for content, _ in swarm.kept.values()} >= {"secret"}
    assert not [value for value in spec.environment.values() if "password" in value or value == "secret"]
    services._look()
    assert swarm.did == ["network zenith", "create"]


def test_variables_from_before_are_left_out_and_the_log_says_so(
    services: SwarmServices, group: NodeGroup, swarm: FakeSwarm, caplog: pytest.LogCaptureFixture
) -> None:
    NodeGroup.objects.update(environment={"PGHOST": "elsewhere"}, secrets={"SSL_CERT": "x"})
    services._look()
    spec = swarm.specs[f"zenith-{group.pk}"]
    assert not {"PGHOST", "SSL_CERT_FILE"} & spec.environment.keys()
    assert sorted(file for _, file in spec.secrets.values()) == ["REDIS_URL", "ZENITH_SECRET_KEY"]
    assert [line.split(",")[0] for line in caplog.messages] == [
        "Service flock: PGHOST may not be set",
        "Service flock: SSL_CERT may not be set",
    ]


def test_another_number_or_image_changes_it(services: SwarmServices, group: NodeGroup, swarm: FakeSwarm) -> None:
    services._look()
    NodeGroup.objects.update(replicas=4)
    services._look()
    assert swarm.specs[f"zenith-{group.pk}"].replicas == 4
    NodeGroup.objects.update(image="zenith:2")
    services._look()
    assert swarm.did[2:] == ["update", "update"]
    services._look()
    assert len(swarm.did) == 4


def test_a_changed_secret_gets_another_name_and_the_old_one_goes_once_unused(
    services: SwarmServices, group: NodeGroup, swarm: FakeSwarm
) -> None:
    services._look()
    old = next(name for name, (content, _) in swarm.kept.items() if content == "secret")
    swarm.used = {old}
    NodeGroup.objects.update(secrets={"APP_KEY": "another"})
    services._sweep.make_due()
    services._look()
    assert old in swarm.kept
    swarm.used = set()
    services._sweep.make_due()
    services._look()
    assert old not in swarm.kept
    assert "another" in {content for content, _ in swarm.kept.values()}


def test_slots_are_written_down_as_nodes(
    services: SwarmServices, group: NodeGroup, swarm: FakeSwarm, heard: Heard, host: Host
) -> None:
    swarm.ran = [task(1), task(2, "preparing", container=""), task(3, "pending", container="", error="no suitable node")]
    first = f"flock.1@{slot_id(group.pk, 1)}"
    heard.names = {first}
    services._look()
    nodes = list(Node.objects.filter(group=group).order_by("slot"))
    assert [(node.name, node.status, node.reason) for node in nodes] == [
        ("flock.1", NodeStatus.READY, ""),
        ("flock.2", NodeStatus.PULLING, "Its host is pulling the image."),
        ("flock.3", NodeStatus.PENDING, "no suitable node"),
    ]
    assert (nodes[0].worker, nodes[0].container_id, nodes[0].host) == (first, "c1", host)


def test_a_task_that_fell_is_the_same_node_with_one_more_restart(
    services: SwarmServices, group: NodeGroup, swarm: FakeSwarm
) -> None:
    swarm.ran = [task(1)]
    services._look()
    fell = task(1, "failed", "shutdown", exit_code=137, error="task: non-zero exit (137)")
    swarm.ran = [fell, replace(task(1, container="c9"), id="t9")]
    services._look()
    node = Node.objects.get(group=group)
    assert (node.pk, node.container_id, node.restarts) == (slot_id(group.pk, 1), "c9", 1)
    swarm.ran = [task(1, "failed", "running", container="c9", exit_code=137)]
    services._look()
    node.refresh_from_db()
    assert (node.status, node.reason, node.exit_code) == (NodeStatus.FAILED, "killed (137); the swarm starts a replacement.", 137)


def test_slots_that_are_gone_are_removed_and_so_is_a_group_that_ended(
    services: SwarmServices, group: NodeGroup, swarm: FakeSwarm
) -> None:
    swarm.ran = [task(1), task(2)]
    services._look()
    swarm.ran = [task(1), task(2, "shutdown", "shutdown")]
    services._look()
    assert [node.status for node in Node.objects.order_by("slot")] == [NodeStatus.STARTING, NodeStatus.REMOVED]
    NodeGroup.objects.update(removed_at=AT)
    Node.objects.update(desired=Desired.REMOVED)
    services._look()
    assert swarm.did[-1] == "remove"
    assert not swarm.kept
    assert not Node.objects.exclude(status=NodeStatus.REMOVED).exists()


def test_hosts_of_other_regions_get_none(services: SwarmServices, group: NodeGroup, swarm: FakeSwarm) -> None:
    Host.objects.create(name="beta", address="tcp://x:1", swarm_node_id="n2", region="there")
    NodeGroup.objects.update(region="here")
    services._look()
    assert swarm.specs[f"zenith-{group.pk}"].constraints == ("node.id!=n2",)


def test_an_engine_that_manages_no_swarm_is_left_alone(services: SwarmServices, group: NodeGroup, swarm: FakeSwarm) -> None:
    services._info = lambda: None
    services._look()
    assert swarm.did == []
