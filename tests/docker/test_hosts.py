"""Several hosts: nodes spread over them, a host that is lost and comes back, an engine that stops, and a swarm over both.

The second engine, and the first one's swarm, are there once on a machine: a lock keeps two runs of these tests apart.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from typing import NoReturn

import pytest

from infra_app import nodes
from infra_app.models import Node
from infra_app.states import HOST_LOST_AFTER, NodeStatus
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tests.docker.conftest import hold_networks
from tests.docker.engine import docker, run
from tests.docker.lab import FIRST_ENGINE, READY_WITHIN, Lab, kill, took
from tests.processes import REPOSITORY
from tests.waiting import eventually
from zenith_worker.wire.states import Status

SECOND_ENGINE = "tcp://10.77.0.2:2375"
FIRST_ADDRESS = "10.77.0.1"
TOOL = "shared/docker/second-engine"


@pytest.fixture(scope="module")
def networks() -> Iterator[None]:
    """Give this module exclusive use of the second engine and of the first one's networks."""
    yield from hold_networks(fcntl.LOCK_EX)


@pytest.fixture(scope="module")
def second_engine(networks: None, image: str) -> Iterator[str]:
    """A second Docker Engine on this machine, with the project's image; stopped at the end if this fixture started it."""
    tool = next((folder / TOOL for folder in REPOSITORY.parents if (folder / TOOL).exists()), None)
    if tool is None:
        missing(f"there is no {TOOL} beside the clone to start a second engine")
    run(str(tool), "up", within=120)
    leave_swarms()
    run("sh", "-c", f"docker save {image} | DOCKER_HOST={SECOND_ENGINE} docker load", within=300)
    yield str(tool)
    run(str(tool), "down", within=90)


@pytest.fixture(scope="module")
def two(lab: Lab, second_engine: str) -> Iterator[Lab]:
    """A lab with two hosts, cleaned up while the second engine is still running."""
    lab.engine(SECOND_ENGINE)
    lab.agent("first", FIRST_ENGINE)
    lab.agent("second", SECOND_ENGINE)
    yield lab
    lab.clear()


@pytest.fixture
def swarm(two: Lab) -> Iterator[None]:
    """Both engines in one swarm, which the first one manages."""
    if swarm_state(FIRST_ENGINE) != "inactive":
        missing("this machine's engine is in a swarm of somebody else's, which is left alone")
    docker("swarm", "init", "--advertise-addr", FIRST_ADDRESS, "--listen-addr", f"{FIRST_ADDRESS}:2377")
    try:
        token = docker("swarm", "join-token", "--quiet", "worker")
        run("docker", "--host", SECOND_ENGINE, "swarm", "join", "--token", token, f"{FIRST_ADDRESS}:2377")
        eventually(lambda: two.host("first").swarm_manager and two.host("second").swarm_node_id, within=60)
        yield
    finally:
        leave_swarms()
        # Docker creates it with a swarm, and leaves it behind.
        docker("network", "rm", "docker_gwbridge")


def missing(what: str) -> NoReturn:
    """Skip a test that this machine cannot run, or fail if Docker is required."""
    if "docker" in os.environ.get("ZENITH_REQUIRE", ""):
        pytest.fail(what)
    pytest.skip(what)


def leave_swarms() -> None:
    """Make both engines leave this test's swarm; a run that was killed leaves them in it.

    The second engine exists only for these tests; the first one's swarm belongs to this test if it has this test's address.
    """
    for engine, its_own in ((SECOND_ENGINE, lambda: True), (FIRST_ENGINE, first_leads)):
        if swarm_state(engine) != "inactive" and its_own():
            # On a busy engine the command times out after some seconds, and leaving continues.
            eventually(lambda engine=engine: left_swarm(engine), within=90)


def first_leads() -> bool:
    return swarm_state(FIRST_ENGINE, "{{.Swarm.NodeAddr}}") == FIRST_ADDRESS


def left_swarm(engine: str) -> bool:
    subprocess.run(("docker", "--host", engine, "swarm", "leave", "--force"), capture_output=True, check=False)
    return swarm_state(engine) == "inactive"


def swarm_state(engine: str, field: str = "{{.Swarm.LocalNodeState}}") -> str:
    """Return an engine's swarm state: `inactive` if it is in none."""
    return run("docker", "--host", engine, "info", "--format", field)


def test_nodes_spread_over_two_hosts_and_both_work(two: Lab) -> None:
    group = two.deploy("spread", replicas=2)
    ready = two.ready(group, 2)
    assert {node.host.name for node in ready} == {"first", "second"}
    ids = dispatch(Dispatch(task="drill_sleep", count=8, data=1.0, queue="spread"), Origin(source="api")).ids
    done = two.finished(Task.objects.filter(pk__in=ids))
    assert {task.status for task in done} == {Status.SUCCESS}
    assert {task.worker for task in done} == {node.worker for node in ready}


def test_a_lost_agent_makes_its_host_unreachable_and_its_nodes_unknown_and_starts_nothing_twice(two: Lab) -> None:
    [node] = two.nodes(two.deploy("lost", host="second"))
    two.until(node, lambda node: node.status == NodeStatus.READY, within=READY_WITHIN)
    container, started = node.container_id, node.started_at
    [agent] = [process for process in two.stack.processes if process.name == "agent-second" and process.runs]
    kill(agent)
    began = time.monotonic()
    eventually(lambda: not two.host("second").online, within=30)
    took("Host unreachable", began)
    assert HOST_LOST_AFTER < 15
    node = Node.objects.select_related("host").get(pk=node.pk)
    assert (node.status, node.shown_status) == (NodeStatus.READY, NodeStatus.UNKNOWN)

    two.agent("second", SECOND_ENGINE)
    node = Node.objects.select_related("host", "group").get(pk=node.pk)
    two.until(node, lambda node: node.shown_status == NodeStatus.READY)
    assert (node.container_id, node.started_at, node.restarts) == (container, started, 0)
    assert two.containers(node, SECOND_ENGINE) == [container]


def test_an_engine_that_stops_and_starts_gets_its_nodes_back(two: Lab, second_engine: str) -> None:
    group = two.deploy("again", host="second")
    [node] = two.ready(group)
    run(second_engine, "down", within=90)
    eventually(lambda: two.host("second").engine_error, within=30)
    host = two.host("second")
    assert (host.agent_online, host.online) == (True, False)
    assert Node.objects.select_related("host").get(pk=node.pk).shown_status == NodeStatus.UNKNOWN

    run(second_engine, "up", within=120)
    eventually(lambda: two.host("second").online, within=30)
    two.until(node, lambda node: node.restarts >= 1 and node.status == NodeStatus.READY, within=READY_WITHIN)
    assert two.containers(node, SECOND_ENGINE) == [node.container_id]


@pytest.mark.usefixtures("swarm")
def test_a_swarm_service_of_four_runs_over_both_hosts(two: Lab) -> None:
    assert not two.host("second").swarm_manager

    group = two.deploy("flock", kind="SERVICE", replicas=2, host="first", secrets={"APP_KEY": "a secret of the shop"})
    two.ready(group, 2)
    nodes.scale(group.pk, 4, by="the test")
    began = time.monotonic()
    ready = two.ready(group, 4)
    took("Four replicas READY", began)
    assert {node.host.name for node in ready} == {"first", "second"}
    assert [node.name for node in ready] == ["flock.1", "flock.2", "flock.3", "flock.4"]
    shown = docker("service", "inspect", f"zenith-{group.pk}")
    assert "a secret of the shop" not in shown
    assert "APP_KEY_FILE=/run/secrets/APP_KEY" in shown

    ids = dispatch(Dispatch(task="drill_sleep", count=16, data=1.0, queue="flock"), Origin(source="api")).ids
    done = two.finished(Task.objects.filter(pk__in=ids), within=90)
    assert {task.status for task in done} == {Status.SUCCESS}
    assert {task.worker for task in done} <= {node.worker for node in ready}

    nodes.scale(group.pk, 1, by="the test")
    eventually(lambda: two.nodes(group).count() == 1, within=60, but=lambda: two.told(group))
    nodes.remove_group(group.pk, by="the test")
    eventually(lambda: not two.nodes(group).exists(), within=60, but=lambda: two.told(group))
    assert not docker("service", "ls", "--quiet")
    eventually(lambda: not docker("secret", "ls", "--quiet"), within=60)
