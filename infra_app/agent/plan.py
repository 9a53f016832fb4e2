"""What to do next for a node: a pure decision over what is wanted, what its row says and what the engine shows.

It is asked again after every step, and always from what is there, so it does not matter after which step an agent died.
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
from infra_app.work import Beat

#: Seconds after which a container that ran has recovered: its next end is the first again.
STEADY: Final = 60.0
#: Ends in a row, each soon after the start, from which a node counts as failed while it is tried again.
CRASH_LOOP: Final = 3
#: Seconds of the longest wait between two tries.
LONGEST_DELAY: Final = 300.0
#: Seconds without a worker's answer after which the node's reason says so.
SILENT: Final = 20.0
_KILLED: Final = 137


class Step(Enum):
    """A step that the agent can take."""

    CREATE = auto()
    START = auto()
    #: Fetches the image, and then stops.
    REPLACE = auto()
    STOP = auto()
    REMOVE = auto()
    TELL_DRAIN = auto()
    NOTE_END = auto()
    #: Nothing to do; the row says where the node is.
    SETTLE = auto()


@dataclass(frozen=True, slots=True)
class NextStep:
    """The step, and for SETTLE where the node is, why, and when to look again at the latest."""

    do: Step
    status: NodeStatus | None = None
    reason: str = ""
    again: datetime | None = None


def plan(node: Node, box: ContainerState | None, beat: Beat | None, now: datetime) -> NextStep:
    """Return the next step for a node. `beat` is its worker's newest heartbeat; reads `group`."""
    running = box is not None and box.running
    match Desired(node.desired):
        case Desired.REMOVED:
            return NextStep(Step.STOP if running else Step.REMOVE) if box else NextStep(Step.SETTLE, NodeStatus.REMOVED)
        case Desired.STOPPED:
            return NextStep(Step.STOP) if running else NextStep(Step.SETTLE, NodeStatus.STOPPED)
        case Desired.DRAINED:
            return _drain(box, beat, now) if box and running else NextStep(Step.SETTLE, NodeStatus.STOPPED)
        case Desired.RUNNING:
            return _run(node, box, beat, now)


def _run(node: Node, box: ContainerState | None, beat: Beat | None, now: datetime) -> NextStep:
    if box is None:
        return _waiting(node, now) or NextStep(Step.CREATE)
    if box.labels.get(REVISION_LABEL) != str(node.revision) or box.status in {"dead", "removing"}:
        return _replace(node, box, now)
    if box.running:
        return _keep_running(node, box, beat, now)
    if box.status == "created":
        return _waiting(node, now) or NextStep(Step.START)
    if is_fresh(node) or node.status in {NodeStatus.STOPPED, NodeStatus.DRAINING}:
        return NextStep(Step.START)
    if node.finished_at != box.finished_at:
        return NextStep(Step.NOTE_END)
    return _after_end(node, box, now)


def _replace(node: Node, box: ContainerState, now: datetime) -> NextStep:
    """Have the container go, so that another is made; one that runs goes on while its successor's image cannot be had."""
    if not box.running:
        return NextStep(Step.REMOVE)
    return _waiting(node, now) or NextStep(Step.REPLACE)


def _keep_running(node: Node, box: ContainerState, beat: Beat | None, now: datetime) -> NextStep:
    if box.status == "paused":
        return NextStep(Step.SETTLE, NodeStatus.STARTING, "Somebody has paused its container.", _soon(now, 5))
    if node.status == NodeStatus.DRAINING:
        # It has given up its queues: what it still has is finished first, then it starts anew.
        return _drain(box, beat, now)
    if beat and answers(beat, box):
        return NextStep(Step.SETTLE, NodeStatus.READY)
    return NextStep(Step.SETTLE, NodeStatus.STARTING, _silence(node, box, now), _soon(now, 0.5))


def _silence(node: Node, box: ContainerState, now: datetime) -> str:
    since = max(filter(None, (box.started_at, node.ready_at)), default=now)
    if node.status == NodeStatus.READY or (now - since).total_seconds() > SILENT:
        return "Its container runs, but its worker is not heard of."
    return how_it_ended(node.exit_code, oom_killed=node.oom_killed) + "; started again." if node.falls else ""


def _drain(box: ContainerState, beat: Beat | None, now: datetime) -> NextStep:
    # The container cannot finish what its worker is not there to finish.
    if beat is None or not answers(beat, box) or not (beat.queues or beat.held or beat.busy):
        started = box.started_at or now
        if beat is None and (now - started).total_seconds() < SILENT:
            return NextStep(Step.SETTLE, NodeStatus.DRAINING, "Its worker is still starting.", _soon(now, 1))
        return NextStep(Step.STOP)
    if beat.queues:
        return NextStep(Step.TELL_DRAIN)
    tasks = "one task" if beat.held == 1 else f"{beat.held} tasks"
    return NextStep(Step.SETTLE, NodeStatus.DRAINING, f"It finishes {tasks}.", _soon(now, 1))


def _after_end(node: Node, box: ContainerState, now: datetime) -> NextStep:
    ended = how_it_ended(box.exit_code, oom_killed=box.oom_killed)
    policy = node.group.restart_policy
    if policy == RestartPolicy.NO:
        return NextStep(Step.SETTLE, NodeStatus.FAILED, f"{ended}; it is not to be started again.")
    if policy == RestartPolicy.ON_FAILURE and box.exit_code == 0:
        return NextStep(Step.SETTLE, NodeStatus.STOPPED, f"{ended} by itself.")
    return _waiting(node, now) or NextStep(Step.START)


def _waiting(node: Node, now: datetime) -> NextStep | None:
    """Return the wait before the next try of a node that failed; None where it is over, or somebody asked anew."""
    if is_fresh(node) or node.retry_at is None or node.retry_at <= now:
        return None
    looping = node.falls >= CRASH_LOOP or node.status == NodeStatus.FAILED
    return NextStep(Step.SETTLE, NodeStatus.FAILED if looping else NodeStatus.STARTING, node.reason, node.retry_at)


def is_fresh(node: Node) -> bool:
    """Whether something was asked of the node that its agent has not acted on."""
    return node.generation > node.observed_generation


def answers(beat: Beat, box: ContainerState) -> bool:
    """Whether a heartbeat is that of this container's worker, and not of one before. Both clocks are the engine's machine's."""
    begun = box.started_at is None or beat.started_at is None or beat.started_at >= box.started_at.timestamp() - 1
    return beat.online and begun


def delay_after(falls: int) -> float:
    """Return the seconds to wait after so many falls in a row: none after the first, then 2, 4, 8, … ."""
    return 0.0 if falls <= 1 else min(2.0 ** (falls - 1), LONGEST_DELAY)


def falls_after(node: Node, box: ContainerState) -> int:
    """Return the ends in a row, counting this one, of which each came soon after its start."""
    ran = (box.finished_at - box.started_at).total_seconds() if box.finished_at and box.started_at else 0.0
    return 1 if ran >= STEADY else node.falls + 1


def how_it_ended(code: int | None, *, oom_killed: bool) -> str:
    """Return in words what an exit status means."""
    if code == _KILLED:
        return "out of memory (137)" if oom_killed else "killed (137)"
    if code is not None and code > 128:
        return f"ended by signal {code - 128} ({code})"
    return f"ended with status {code}"


def _soon(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)
