"""The agent's next step for a node, as a table: from its desired state, its row, and what the engine shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from infra_app.agent.names import REVISION_LABEL, container_name, node_of
from infra_app.agent.plan import NextStep, Step, delay_after, falls_after, how_it_ended, plan
from infra_app.gateway import ContainerState
from infra_app.models import Node, NodeGroup
from infra_app.models.group import RestartPolicy
from infra_app.states import Desired, NodeStatus
from infra_app.work import WorkerHeartbeat

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STARTED = NOW - timedelta(seconds=30)
ENDED = NOW - timedelta(seconds=1)


def node(desired: str = Desired.RUNNING, **values: Any) -> Node:
    policy = values.pop("policy", RestartPolicy.ALWAYS)
    given = {"generation": 1, "observed_generation": 1, "revision": 1, "status": NodeStatus.STARTING, **values}
    return Node(group=NodeGroup(restart_policy=policy), name="one", desired=desired, **given)


def container(status: str = "running", **values: Any) -> ContainerState:
    given = {
        "id": "c1", "name": "zenith-1", "image_id": "sha256:1", "labels": {REVISION_LABEL: "1"}, "status": status, "exit_code": 0,
        "oom_killed": False, "error": "", "started_at": STARTED, "finished_at": None if status == "running" else ENDED, **values,
    }  # fmt: skip
    return ContainerState(**given)


def heartbeat(
    *queues: str, held: int = 0, busy: int | None = None, started: datetime = STARTED, online: bool = True
) -> WorkerHeartbeat:
    busy = held if busy is None else busy
    return WorkerHeartbeat(
        name="one@1", online=online, queues=queues, slots=1, busy=busy, held=held, started_at=started.timestamp()
    )


def step(node_row: Node, container_state: ContainerState | None, latest_heartbeat: WorkerHeartbeat | None = None) -> Step:
    return plan(node_row, container_state, latest_heartbeat, NOW).step


@pytest.mark.parametrize(
    ("node_row", "container_state", "expected"),
    [
        (node(), None, Step.CREATE),
        (node(), container("created"), Step.START),
        (node(revision=2), container(), Step.REPLACE),
        (node(revision=2), container("exited"), Step.REMOVE),
        (node(), container("dead"), Step.REMOVE),
        (node(), container("exited"), Step.NOTE_END),
        (node(finished_at=ENDED), container("exited"), Step.START),
        (node(status=NodeStatus.STOPPED), container("exited"), Step.START),
        (node(generation=2), container("exited"), Step.START),
        (node(Desired.STOPPED), container(), Step.STOP),
        (node(Desired.DRAINED), container("created"), Step.SETTLE),
        (node(Desired.REMOVED), container(), Step.STOP),
        (node(Desired.REMOVED), container("exited"), Step.REMOVE),
    ],
)  # fmt: skip
def test_the_next_step(node_row: Node, container_state: ContainerState | None, expected: Step) -> None:
    assert step(node_row, container_state) is expected


@pytest.mark.parametrize(
    ("node_row", "container_state", "latest_heartbeat", "status", "reason"),
    [
        (node(), container(), heartbeat("default"), NodeStatus.READY, ""),
        (node(), container(started_at=NOW), None, NodeStatus.STARTING, ""),
        (node(), container(), None, NodeStatus.STARTING, "Its container is running, but its worker sends no heartbeat."),
        (node(status=NodeStatus.READY), container(started_at=NOW), None, NodeStatus.STARTING,
         "Its container is running, but its worker sends no heartbeat."),
        (node(falls=1, exit_code=137, oom_killed=True), container(started_at=NOW), None, NodeStatus.STARTING,
         "out of memory (137); restarted."),
        (node(), container("paused"), heartbeat("default"), NodeStatus.STARTING, "Someone has paused its container."),
        (node(Desired.STOPPED), None, None, NodeStatus.STOPPED, ""),
        (node(Desired.STOPPED), container("exited"), None, NodeStatus.STOPPED, ""),
        (node(Desired.REMOVED), None, None, NodeStatus.REMOVED, ""),
        (node(finished_at=ENDED, policy=RestartPolicy.NO), container("exited", exit_code=1), None, NodeStatus.FAILED,
         "exited with status 1; its restart policy does not restart it."),
        (node(finished_at=ENDED, policy=RestartPolicy.ON_FAILURE), container("exited"), None, NodeStatus.STOPPED,
         "exited with status 0; its restart policy does not restart it."),
    ],
)  # fmt: skip
def test_where_a_node_is(
    node_row: Node,
    container_state: ContainerState | None,
    latest_heartbeat: WorkerHeartbeat | None,
    status: NodeStatus,
    reason: str,
) -> None:
    next_step = plan(node_row, container_state, latest_heartbeat, NOW)
    assert (next_step.step, next_step.status, next_step.reason) == (Step.SETTLE, status, reason)


def test_a_heartbeat_from_before_the_start_does_not_count() -> None:
    old = heartbeat("default", started=STARTED - timedelta(seconds=60))
    assert plan(node(), container(), old, NOW).status is NodeStatus.STARTING
    assert plan(node(), container(), heartbeat("default", online=False), NOW).status is NodeStatus.STARTING


def test_draining_tells_the_worker_waits_for_its_tasks_and_then_stops() -> None:
    drained = node(Desired.DRAINED)
    assert step(drained, container(), heartbeat("default", held=2)) is Step.TELL_DRAIN
    assert plan(drained, container(), heartbeat(held=2), NOW) == NextStep(
        Step.SETTLE, NodeStatus.DRAINING, "Finishing 2 tasks.", NOW + timedelta(seconds=1)
    )
    assert plan(drained, container(), heartbeat(held=1), NOW).reason == "Finishing one task."
    assert step(drained, container(), heartbeat()) is Step.STOP
    assert step(drained, container("exited"), None) is Step.SETTLE


def test_draining_waits_for_what_its_worker_has_taken_and_not_begun() -> None:
    assert plan(node(Desired.DRAINED), container(), heartbeat(held=1, busy=0), NOW).reason == "Finishing one task."


def test_draining_does_not_wait_for_a_worker_that_is_not_there() -> None:
    assert step(node(Desired.DRAINED), container(), heartbeat(held=2, online=False)) is Step.STOP
    assert step(node(Desired.DRAINED), container(), None) is Step.STOP
    young = plan(node(Desired.DRAINED), container(started_at=NOW), None, NOW)
    assert (young.step, young.reason) == (Step.SETTLE, "Its worker is still starting.")


def test_a_node_wanted_again_while_it_drains_finishes_first_and_starts_anew() -> None:
    node_row = node(status=NodeStatus.DRAINING, generation=2)
    assert plan(node_row, container(), heartbeat(held=1), NOW).status is NodeStatus.DRAINING
    assert step(node_row, container(), heartbeat()) is Step.STOP
    assert step(node_row, container("exited")) is Step.START


def test_what_fell_waits_and_counts_as_failed_after_the_third_time_unless_somebody_asks() -> None:
    later = NOW + timedelta(seconds=8)
    waiting = node(finished_at=ENDED, retry_at=later, falls=2, reason="killed (137)")
    assert plan(waiting, container("exited"), None, NOW) == NextStep(Step.SETTLE, NodeStatus.STARTING, "killed (137)", later)
    looping = node(finished_at=ENDED, retry_at=later, falls=3, reason="killed (137)")
    assert plan(looping, container("exited"), None, NOW) == NextStep(Step.SETTLE, NodeStatus.FAILED, "killed (137)", later)
    failed = node(retry_at=later, falls=1, status=NodeStatus.FAILED, reason="No such image")
    assert plan(failed, None, None, NOW) == NextStep(Step.SETTLE, NodeStatus.FAILED, "No such image", later)
    assert step(node(retry_at=later, falls=1, status=NodeStatus.FAILED, generation=2), None) is Step.CREATE
    assert step(node(finished_at=ENDED, retry_at=NOW, falls=2), container("exited")) is Step.START


def test_a_container_whose_successor_cannot_be_had_goes_on() -> None:
    failed = node(revision=2, status=NodeStatus.FAILED, retry_at=NOW + timedelta(seconds=4), falls=1, reason="No such image")
    assert plan(failed, container(), heartbeat("default"), NOW).reason == "No such image"


def test_delays_grow_and_recovering_begins_anew() -> None:
    assert [delay_after(falls) for falls in (1, 2, 3, 4, 20)] == [0, 2, 4, 8, 300]
    assert falls_after(node(falls=2), container("exited", started_at=ENDED - timedelta(seconds=59))) == 3
    assert falls_after(node(falls=2), container("exited", started_at=ENDED - timedelta(seconds=60))) == 1
    assert falls_after(node(falls=2), container("exited", started_at=None)) == 3


@pytest.mark.parametrize(
    ("code", "oom_killed", "words"),
    [(0, False, "exited with status 0"), (1, True, "exited with status 1"), (137, True, "out of memory (137)"),
     (137, False, "killed (137)"), (139, False, "killed by signal 11 (139)")],
)  # fmt: skip
def test_how_it_ended_in_words(code: int, oom_killed: bool, words: str) -> None:
    assert how_it_ended(code, oom_killed=oom_killed) == words


def test_only_labels_of_this_hosts_agent_name_a_node() -> None:
    key, other = UUID(int=1), UUID(int=2)
    labels = {"io.zenith.host": str(key), "io.zenith.node": str(UUID(int=3))}
    assert node_of(labels, key) == UUID(int=3)
    assert node_of(labels, other) is None
    assert node_of({**labels, "io.zenith.node": "x"}, key) is None
    assert node_of({}, key) is None
    assert container_name(UUID(int=3)) == "zenith-00000000-0000-0000-0000-000000000003"
