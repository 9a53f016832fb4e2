"""An agent may be killed at any moment: the next one continues, leaves no container behind and creates none twice."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable

from infra_app import forgetting, nodes
from infra_app.agent.names import container_name
from infra_app.forgetting import ForgetOutcome
from infra_app.models import Host, Node, NodeGroup
from infra_app.states import Desired, NodeStatus
from tests.docker.engine import docker
from tests.docker.lab import READY_WITHIN, Lab, kill
from tests.waiting import eventually


def one_node(lab: Lab, host: str) -> Node:
    """Return a node that is desired to run on a host whose agent has not started yet."""
    lab.new_host(host)
    [node] = lab.nodes(lab.deploy(host, host=host))
    return node


def die(lab: Lab, cases: dict[str, str]) -> None:
    """Run an agent for each host concurrently, each killed after a different step."""
    for process in [lab.dying_agent(host, after) for host, after in cases.items()]:
        process.popen.wait(90)
        assert process.popen.returncode == -signal.SIGKILL, process.output


def come(lab: Lab, hosts: Iterable[str]) -> None:
    """Start the successors of the agents concurrently."""
    for host, process in [(host, lab.agent_process(host)) for host in hosts]:
        lab.speaks(host, process)


def runs_once(lab: Lab, node: Node) -> None:
    """Wait until a node's container is running, and check that it is the only one."""
    lab.until(node, lambda node: node.status in {NodeStatus.STARTING, NodeStatus.READY} and node.started_at is not None)
    [container] = lab.containers(node)
    assert container == node.container_id
    assert lab.engine().find(container).running


def leave_nothing(lab: Lab, nodes: Collection[Node]) -> None:
    """Remove nodes, and check that their containers are removed."""
    for node in nodes:
        node.refresh_from_db()
    lab.order("remove", *[node for node in nodes if node.desired != Desired.REMOVED])
    for node in nodes:
        lab.until(node, lambda node: node.status == NodeStatus.REMOVED)
        assert not lab.containers(node)


def test_killed_at_each_step_of_a_deploy(lab: Lab) -> None:
    cases = {f"d-{after.replace(' ', '-')}": after for after in ("image", "created", "handed over", "started", "recorded")}
    nodes = {host: one_node(lab, host) for host in cases}
    die(lab, cases)
    assert {host: len(lab.containers(node)) for host, node in nodes.items()} == {host: int(host != "d-image") for host in cases}
    come(lab, cases)
    for node in nodes.values():
        runs_once(lab, node)
        assert node.events.filter(kind="created").count() <= 1
    leave_nothing(lab, nodes.values())


def test_killed_at_each_step_of_a_restart_and_a_removal(lab: Lab) -> None:
    cases = {f"{verb}-{after}": after for verb in ("restart", "remove") for after in ("stopped", "removed")}
    nodes = {host: one_node(lab, host) for host in cases}
    come(lab, cases)
    for node in nodes.values():
        runs_once(lab, node)
    for process in [process for process in lab.stack.processes if process.runs and process.name.removeprefix("agent-") in cases]:
        kill(process)
    for host, node in nodes.items():
        lab.order(host.partition("-")[0], node)
    die(lab, cases)
    come(lab, cases)
    for host, node in nodes.items():
        if host.startswith("restart"):
            lab.until(node, lambda node: node.observed_revision == 2)
            runs_once(lab, node)
    leave_nothing(lab, nodes.values())


def test_killed_after_it_saw_an_end_it_starts_the_container_again_once(lab: Lab) -> None:
    node = one_node(lab, "ends")
    agent = lab.agent("ends")
    lab.until(node, lambda node: node.started_at is not None)
    kill(agent)
    docker("kill", container_name(node.pk))
    die(lab, {"ends": "end noted"})
    node.refresh_from_db()
    assert (node.exit_code, node.restarts) == (137, 0)
    lab.agent("ends")
    lab.until(node, lambda node: node.restarts == 1)
    runs_once(lab, node)
    assert node.events.filter(kind="died").count() == 1


def test_what_is_left_of_a_node_that_nobody_knows_is_removed(lab: Lab) -> None:
    node = one_node(lab, "left")
    agent = lab.agent("left")
    lab.until(node, lambda node: node.started_at is not None)
    kill(agent)
    Node.objects.filter(pk=node.pk).update(status=NodeStatus.REMOVED, desired=Desired.REMOVED)
    assert lab.containers(node)
    lab.agent("left")
    eventually(lambda: not lab.containers(node), within=40)


def test_a_forgotten_host_that_comes_back_is_known_again_and_what_it_left_is_removed(lab: Lab) -> None:
    node = one_node(lab, "lost")
    agent = lab.agent("lost")
    lab.until(node, lambda node: node.started_at is not None)
    kill(agent)
    host = lab.host("lost")
    # Unbound, but no host has this label: the replacement node waits.
    NodeGroup.objects.filter(pk=node.group_id).update(host=None, labels={"nowhere": "yes"})
    Host.objects.filter(pk=host.pk).update(seen_at=None)
    assert forgetting.forget(host, "tests") == ForgetOutcome([node.name], 1)
    assert lab.containers(node)
    lab.agent("lost")
    assert lab.host("lost").key == host.key
    eventually(lambda: not lab.containers(node), within=40)
    lab.order("remove", *Node.objects.filter(group=node.group_id, status=NodeStatus.PENDING))


def test_a_second_agent_of_a_host_waits_until_the_first_is_gone(lab: Lab) -> None:
    first = lab.agent("shared")
    run = lab.host("shared").agent_id
    second = lab.agent_process("shared", name="agent-second")
    eventually(lambda: "Another agent holds the lease on host shared" in second.output, within=30)
    assert lab.host("shared").agent_id == run
    kill(first)
    eventually(lambda: lab.host("shared").agent_id not in (None, run), within=20, but=lambda: second.output)


def test_containers_go_on_while_there_is_no_agent_and_are_not_started_again(lab: Lab) -> None:
    node = one_node(lab, "gap")
    agent = lab.agent("gap")
    lab.until(node, lambda node: node.status == NodeStatus.READY, within=READY_WITHIN)
    started = node.started_at
    kill(agent)
    nodes.scale(node.group_id, 1, by="the test")
    lab.agent("gap")
    lab.until(node, lambda node: node.shown_status == NodeStatus.READY and node.observed_generation == node.generation)
    assert (node.started_at, node.restarts) == (started, 0)
    assert lab.containers(node) == [node.container_id]
