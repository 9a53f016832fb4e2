"""The desired state of nodes: deploying, placing, scaling, and each action, against a real PostgreSQL."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from infra_app import nodes, scheduler
from infra_app.errors import NoHostOnlineError, UnknownGroupError
from infra_app.models import Node, NodeEvent, NodeGroup
from infra_app.states import Desired, NodeStatus
from infra_app.validation import Deployment
from tests.hosts import GB, host, observed
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_worker.wire import heartbeat, stream

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def deploy(**changes: Any) -> NodeGroup:
    return nodes.deploy(Deployment(**{"name": "reports", **changes}), "ada")


def mine(group: NodeGroup) -> list[Node]:
    return list(group.nodes.select_related("host", "group").order_by("id"))


def desired_states(group: NodeGroup) -> list[str]:
    return sorted(group.nodes.values_list("desired", flat=True))


def kinds(node: Node) -> list[str]:
    return list(node.events.order_by("id").values_list("kind", flat=True))


# --- Deploying and placing ---


def test_a_group_is_deployed_with_its_nodes_spread_over_the_hosts() -> None:
    host("zen-01"), host("zen-02")
    group = deploy(replicas=3, concurrency=2, environment={"APP_A": "b"})
    made = mine(group)
    assert [node.name for node in made] == ["reports", "reports-2", "reports-3"]
    assert [node.host.name for node in made if node.host] == ["zen-01", "zen-02", "zen-01"]
    assert {(node.desired, node.status, node.generation) for node in made} == {(Desired.RUNNING, NodeStatus.PENDING, 1)}
    assert [(event.kind, event.message) for event in made[0].events.order_by("id")] == [
        ("deployed", "deployed by ada"), ("placed", "on zen-01"),
    ]  # fmt: skip
    assert (group.replicas, group.created_by, group.image) == (3, "ada", "zenith:latest")


def test_without_a_host_online_nothing_is_written() -> None:
    host("zen-01", engine_error="The engine does not answer.")
    with pytest.raises(NoHostOnlineError):
        deploy()
    assert not NodeGroup.objects.exists()


def test_wrong_input_is_named_before_anything_else() -> None:
    with pytest.raises(InvalidInputError):
        deploy(cpus=0)


def test_an_unknown_host_is_named() -> None:
    host("zen-01")
    with pytest.raises(InvalidInputError, match="there is no host 'zen-09'; known hosts: zen-01"):
        deploy(host="zen-09")


def test_without_a_name_one_is_made_up() -> None:
    host()
    assert nodes.deploy(Deployment(), "ada").name.startswith("node-")


def test_a_name_stands_for_one_group_until_it_is_removed() -> None:
    host()
    group = deploy()
    with pytest.raises(StateConflictError, match="A group 'reports' already exists"):
        deploy()
    nodes.remove_group(group.id, "ada")
    assert [node.name for node in mine(deploy())] == ["reports-2"]


def test_who_finds_no_room_waits_says_why_and_is_placed_later() -> None:
    small = host("zen-01", memory_bytes=GB)
    group = deploy(replicas=3)
    last = mine(group)[2]
    assert (last.host, last.status) == (None, NodeStatus.PENDING)
    assert last.reason == "No host has room for 1 CPU and 512 MB; zen-01 has the most free: 14 CPU and 0 MB."
    assert kinds(last) == ["deployed", "waiting"]
    assert scheduler.place_waiting() == 0
    assert kinds(last) == ["deployed", "waiting"]
    host("zen-02")
    assert scheduler.place_waiting() == 1
    last.refresh_from_db()
    assert last.host is not None
    assert (last.host.name, last.reason) == ("zen-02", "")
    assert small.nodes.count() == 2


def test_what_a_stopped_node_held_is_free_again() -> None:
    host("zen-01", memory_bytes=GB)
    first, second, third = mine(deploy(replicas=3))
    nodes.act("stop", [first.id], "ada")
    assert scheduler.place_waiting() == 0
    observed(first, NodeStatus.STOPPED)
    assert scheduler.place_waiting() == 1
    third.refresh_from_db()
    assert third.host == second.host


@pytest.mark.django_db(transaction=True)
def test_two_that_place_at_once_promise_no_host_twice() -> None:
    host("zen-01", memory_bytes=2 * GB)
    host("zen-02", cordoned=True)
    deploy(name="a", replicas=8)
    Node.objects.update(host=None)
    host("zen-02", cordoned=False, memory_bytes=2 * GB)
    ready = threading.Barrier(3)

    def place() -> None:
        ready.wait()
        scheduler.place_waiting()
        connections.close_all()

    threads = [threading.Thread(target=place) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Node.objects.values_list("host__name", flat=True)) == ["zen-01"] * 4 + ["zen-02"] * 4


def test_a_service_goes_to_a_swarm_manager_and_its_nodes_are_the_swarms() -> None:
    host("zen-01")
    with pytest.raises(InvalidInputError, match="/kind"):
        deploy(kind="SERVICE")
    host("zen-02", swarm_manager=True, swarm_id="s1")
    group = deploy(kind="SERVICE", replicas=4)
    assert group.host is not None
    assert (group.host.name, group.replicas, mine(group)) == ("zen-02", 4, [])
    assert nodes.scale(group.id, 2, "ada").group.replicas == 2
    node = Node.objects.create(group=group, name="reports.1", host=group.host)
    assert nodes.allowed_actions(node) == frozenset()
    (refused,) = nodes.act("stop", [node.id], "ada").refused
    assert refused.reason == "reports.1 is managed by its swarm. Scale or remove the service reports instead."


# --- Actions ---


@pytest.mark.parametrize(
    ("verb", "desired"), [("drain", Desired.DRAINED), ("stop", Desired.STOPPED), ("remove", Desired.REMOVED)]
)
def test_an_action_changes_what_is_wanted_and_says_who_wanted_it(verb: str, desired: Desired) -> None:
    host()
    group = deploy(replicas=2)
    node = observed(mine(group)[0])
    outcome = nodes.act(verb, [node.id], "ada")
    assert [item.id for item in outcome.done] == [node.id]
    node.refresh_from_db()
    group.refresh_from_db()
    assert (node.desired, node.status, node.generation, group.replicas) == (desired, NodeStatus.READY, 2, 1)
    assert node.events.latest("id").message == f"{verb} requested by ada"


def test_a_node_that_is_stopped_is_started_again() -> None:
    host()
    (node,) = mine(deploy())
    nodes.act("stop", [node.id], "ada")
    nodes.act("start", [node.id], "ada")
    node.refresh_from_db()
    node.group.refresh_from_db()
    assert (node.desired, node.generation, node.group.replicas) == (Desired.RUNNING, 3, 1)


def test_a_restart_asks_for_another_container() -> None:
    host()
    (node,) = mine(deploy())
    nodes.act("restart", [node.id], "ada")
    node.refresh_from_db()
    assert (node.desired, node.revision, node.generation) == (Desired.RUNNING, 2, 2)


def test_what_is_not_possible_is_refused_with_the_reason_and_the_rest_is_done() -> None:
    host()
    first, second = mine(deploy(replicas=2))
    nodes.act("stop", [first.id], "ada")
    outcome = nodes.act("stop", [first.id, second.id, uuid4()], "ada")
    assert [node.name for node in outcome.done] == ["reports-2"]
    assert [(item.node.name, item.reason) for item in outcome.refused] == [
        ("reports", "The desired state of reports is stopped: stop is not possible.")
    ]


def test_a_group_ends_with_its_last_node() -> None:
    host()
    group = deploy(replicas=2)
    first, second = mine(group)
    nodes.act("remove", [first.id], "ada")
    group.refresh_from_db()
    assert (group.removed_at, group.replicas) == (None, 1)
    nodes.act("remove", [second.id], "ada")
    group.refresh_from_db()
    assert group.removed_at is not None
    with pytest.raises(UnknownGroupError):
        nodes.scale(group.id, 1, "ada")


@pytest.mark.parametrize(
    ("verb", "status"), [("stop", NodeStatus.STOPPED), ("drain", NodeStatus.STOPPED), ("remove", NodeStatus.REMOVED)]
)
def test_a_node_that_no_agent_has_is_there_at_once(verb: str, status: NodeStatus) -> None:
    host(memory_bytes=0)
    (node,) = mine(deploy())
    assert node.host is None
    nodes.act(verb, [node.id], "ada")
    node.refresh_from_db()
    assert (node.status, node.reason) == (status, "")


@pytest.mark.django_db(transaction=True)
def test_two_actions_at_once_are_one_after_the_other() -> None:
    host()
    (node,) = mine(deploy())
    ready = threading.Barrier(2)
    outcomes = []

    def stop() -> None:
        ready.wait()
        outcomes.append(nodes.act("stop", [node.id], "ada"))
        connections.close_all()

    threads = [threading.Thread(target=stop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((len(outcome.done), len(outcome.refused)) for outcome in outcomes) == [(0, 1), (1, 0)]
    node.refresh_from_db()
    assert node.generation == 2


# --- Scaling and changing ---


def test_scaling_out_adds_nodes_under_the_next_free_names() -> None:
    host()
    group = deploy(replicas=3)
    nodes.act("remove", [mine(group)[1].id], "ada")
    observed(mine(group)[1], NodeStatus.REMOVED)
    scaled = nodes.scale(group.id, 4, "ada")
    assert (scaled.before, [node.name for node in scaled.added]) == (2, ["reports-2", "reports-4"])
    assert desired_states(group) == ["REMOVED", *["RUNNING"] * 4]


def test_scaling_in_drains_the_idlest_and_removes_them_once_they_are_drained() -> None:
    host()
    group = deploy(replicas=4)
    for node, busy in zip(mine(group), (2, 0, 1, 3), strict=True):
        observed(node)
        heartbeat.write(node.worker, slots=4, busy=busy, queues=["reports"])
    scaled = nodes.scale(group.id, 2, "ada")
    assert {node.name for node in scaled.leaving} == {"reports-2", "reports-3"}
    assert desired_states(group) == ["DRAINED", "DRAINED", "RUNNING", "RUNNING"]
    assert nodes.remove_drained() == 0
    for node in scaled.leaving:
        observed(node, NodeStatus.STOPPED)
    assert nodes.remove_drained() == 2
    assert desired_states(group) == ["REMOVED", "REMOVED", "RUNNING", "RUNNING"]
    group.refresh_from_db()
    assert (group.replicas, group.removed_at) == (2, None)


def test_scaling_in_takes_those_first_that_do_not_run() -> None:
    host(memory_bytes=GB)
    group = deploy(replicas=3)
    first, second, waiting = mine(group)
    observed(first, NodeStatus.FAILED)
    observed(second)
    assert [node.name for node in nodes.scale(group.id, 1, "ada").leaving] == [waiting.name, first.name]
    waiting.refresh_from_db()
    assert (waiting.desired, waiting.status) == (Desired.REMOVED, NodeStatus.REMOVED)


def test_a_node_that_somebody_drained_is_not_removed() -> None:
    host()
    group = deploy(replicas=2)
    node = mine(group)[0]
    nodes.act("drain", [node.id], "ada")
    observed(node, NodeStatus.STOPPED)
    assert nodes.remove_drained() == 0


def test_a_group_of_none_stays() -> None:
    host()
    group = deploy()
    nodes.scale(group.id, 0, "ada")
    group.refresh_from_db()
    assert (group.replicas, group.removed_at) == (0, None)
    assert len(nodes.scale(group.id, 1, "ada").added) == 1


@pytest.mark.parametrize("replicas", [-1, 101])
def test_a_size_out_of_bounds_is_named(replicas: int) -> None:
    host()
    group = deploy()
    with pytest.raises(InvalidInputError, match="/replicas"):
        nodes.scale(group.id, replicas, "ada")


def test_another_image_replaces_the_containers(settings: Any) -> None:
    host()
    group = deploy(replicas=2)
    settings.ZENITH_ALLOWED_IMAGES = ["zenith:*"]
    changed = nodes.change(group.id, "ada", image="zenith:2", queues=("a", "b"))
    assert (changed.image, changed.queues) == ("zenith:2", ["a", "b"])
    assert [node.revision for node in mine(group)] == [2, 2]
    assert kinds(mine(group)[0])[-1] == "update"


def test_a_change_that_may_not_be_changes_nothing() -> None:
    host()
    group = deploy()
    with pytest.raises(InvalidInputError, match="/image"):
        nodes.change(group.id, "ada", image="alpine")
    group.refresh_from_db()
    assert (group.image, mine(group)[0].revision) == ("zenith:latest", 1)


def test_a_group_is_removed_with_all_its_nodes() -> None:
    host()
    group = deploy(replicas=2)
    nodes.act("stop", [mine(group)[0].id], "ada")
    assert len(nodes.remove_group(group.id, "ada")) == 2
    assert desired_states(group) == ["REMOVED", "REMOVED"]
    assert NodeEvent.objects.filter(kind="remove").count() == 2
