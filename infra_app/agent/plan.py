"""Decide the next step for a node: a pure function of its desired state, its row and what the engine shows.

It is called again after every step and always starts from the observed state, so it does not matter after which step an agent
died.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from infra_app.agent.names import REVISION_LABEL
from infra_app.gateway import ContainerState
from infra_app.models import Node
from infra_app.models.group import RestartPolicy
from infra_app.states import Desired, NodeStatus
from infra_app.work import WorkerHeartbeat

#: Seconds of running after which a container has recovered: its next exit counts as the first.
STEADY: Final = 60.0
#: Exits in a row, each soon after the start, from which a node counts as failed while it is restarted.
CRASH_LOOP: Final = 3
#: Longest delay between two attempts, in seconds.
LONGEST_DELAY: Final = 300.0
#: Seconds without a heartbeat after which the node's reason says so.
SILENT: Final = 20.0
_KILLED: Final = 137


class Step(Enum):
    """A step that the agent can take."""

    CREATE = auto()
    START = auto()
    #: Pull the image, then stop the container.
    REPLACE = auto()
    STOP = auto()
    REMOVE = auto()
    TELL_DRAIN = auto()
    NOTE_END = auto()
    #: Nothing to do; record the node's status.
    SETTLE = auto()


@dataclass(frozen=True, slots=True)
class NextStep:
    """A step; for SETTLE also the node's status, the reason, and when to reconcile it again at the latest."""

    step: Step
    status: NodeStatus | None = None
    reason: str = ""
    requeue_at: datetime | None = None


def plan(node: Node, container: ContainerState | None, heartbeat: WorkerHeartbeat | None, now: datetime) -> NextStep:
    """Return the next step for a node. `heartbeat` is its worker's latest; reads `group`."""
    running = container is not None and container.running
    match Desired(node.desired):
        case Desired.REMOVED:
            return NextStep(Step.STOP if running else Step.REMOVE) if container else NextStep(Step.SETTLE, NodeStatus.REMOVED)
        case Desired.STOPPED:
            return NextStep(Step.STOP) if running else NextStep(Step.SETTLE, NodeStatus.STOPPED)
        case Desired.DRAINED:
            return _drain(container, heartbeat, now) if container and running else NextStep(Step.SETTLE, NodeStatus.STOPPED)
        case Desired.RUNNING:
            return _run(node, container, heartbeat, now)


def _run(node: Node, container: ContainerState | None, heartbeat: WorkerHeartbeat | None, now: datetime) -> NextStep:
    if container is None:
        return _retry_wait(node, now) or NextStep(Step.CREATE)
    if container.labels.get(REVISION_LABEL) != str(node.revision) or container.status in {"dead", "removing"}:
        return _replace(node, container, now)
    if container.running:
        return _keep_running(node, container, heartbeat, now)
    if container.status == "created":
        return _retry_wait(node, now) or NextStep(Step.START)
    if is_fresh(node) or node.status in {NodeStatus.STOPPED, NodeStatus.DRAINING}:
        return NextStep(Step.START)
    if node.finished_at != container.finished_at:
        return NextStep(Step.NOTE_END)
    return _after_exit(node, container, now)


def _replace(node: Node, container: ContainerState, now: datetime) -> NextStep:
    """Replace the container. One that runs keeps running as long as the image of its successor cannot be pulled."""
    if not container.running:
        return NextStep(Step.REMOVE)
    return _retry_wait(node, now) or NextStep(Step.REPLACE)


def _keep_running(node: Node, container: ContainerState, heartbeat: WorkerHeartbeat | None, now: datetime) -> NextStep:
    if container.status == "paused":
        return NextStep(Step.SETTLE, NodeStatus.STARTING, "Someone has paused its container.", _soon(now, 5))
    if node.status == NodeStatus.DRAINING:
        # It no longer consumes its queues: it finishes the tasks it holds, then restarts.
        return _drain(container, heartbeat, now)
    if heartbeat and answers(heartbeat, container):
        return NextStep(Step.SETTLE, NodeStatus.READY)
    return NextStep(Step.SETTLE, NodeStatus.STARTING, _silence(node, container, now), _soon(now, 0.5))


def _silence(node: Node, container: ContainerState, now: datetime) -> str:
    since = max(filter(None, (container.started_at, node.ready_at)), default=now)
    if node.status == NodeStatus.READY or (now - since).total_seconds() > SILENT:
        return "Its container is running, but its worker sends no heartbeat."
    return how_it_ended(node.exit_code, oom_killed=node.oom_killed) + "; restarted." if node.falls else ""


def _drain(container: ContainerState, heartbeat: WorkerHeartbeat | None, now: datetime) -> NextStep:
    # Without a worker that answers, nothing in the container can be finished.
    if heartbeat is None or not answers(heartbeat, container) or not (heartbeat.queues or heartbeat.held or heartbeat.busy):
        started = container.started_at or now
        if heartbeat is None and (now - started).total_seconds() < SILENT:
            return NextStep(Step.SETTLE, NodeStatus.DRAINING, "Its worker is still starting.", _soon(now, 1))
        return NextStep(Step.STOP)
    if heartbeat.queues:
        return NextStep(Step.TELL_DRAIN)
    tasks = "one task" if heartbeat.held == 1 else f"{heartbeat.held} tasks"
    return NextStep(Step.SETTLE, NodeStatus.DRAINING, f"Finishing {tasks}.", _soon(now, 1))


def _after_exit(node: Node, container: ContainerState, now: datetime) -> NextStep:
    ended = how_it_ended(container.exit_code, oom_killed=container.oom_killed)
    policy = node.group.restart_policy
    if policy == RestartPolicy.NO:
        return NextStep(Step.SETTLE, NodeStatus.FAILED, f"{ended}; its restart policy does not restart it.")
    if policy == RestartPolicy.ON_FAILURE and container.exit_code == 0:
        return NextStep(Step.SETTLE, NodeStatus.STOPPED, f"{ended}; its restart policy does not restart it.")
    return _retry_wait(node, now) or NextStep(Step.START)


def _retry_wait(node: Node, now: datetime) -> NextStep | None:
    """Return the wait before the next attempt of a node that failed; None if it is over or there is a new order."""
    if is_fresh(node) or node.retry_at is None or node.retry_at <= now:
        return None
    looping = node.falls >= CRASH_LOOP or node.status == NodeStatus.FAILED
    return NextStep(Step.SETTLE, NodeStatus.FAILED if looping else NodeStatus.STARTING, node.reason, node.retry_at)


def is_fresh(node: Node) -> bool:
    """Whether the node has an order that its agent has not acted on."""
    return node.generation > node.observed_generation


def answers(heartbeat: WorkerHeartbeat, container: ContainerState) -> bool:
    """Whether a heartbeat comes from this container's worker, not from a previous one. Both clocks are the engine's machine's."""
    same_run = (
        container.started_at is None
        or heartbeat.started_at is None
        or heartbeat.started_at >= container.started_at.timestamp() - 1
    )
    return heartbeat.online and same_run


def delay_after(falls: int) -> float:
    """Return the seconds to wait after this many failures in a row: none after the first, then 2, 4, 8, …"""
    return 0.0 if falls <= 1 else min(2.0 ** (falls - 1), LONGEST_DELAY)


def falls_after(node: Node, container: ContainerState) -> int:
    """Return how many times in a row the container exited soon after its start, including this time."""
    seconds = (
        (container.finished_at - container.started_at).total_seconds() if container.finished_at and container.started_at else 0.0
    )
    return 1 if seconds >= STEADY else node.falls + 1


def how_it_ended(code: int | None, *, oom_killed: bool) -> str:
    """Describe an exit status."""
    if code == _KILLED:
        return "out of memory (137)" if oom_killed else "killed (137)"
    if code is not None and code > 128:
        return f"killed by signal {code - 128} ({code})"
    return f"exited with status {code}"


def _soon(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)
