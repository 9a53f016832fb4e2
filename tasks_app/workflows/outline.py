"""What a workflow's graph says in figures: its status, progress, critical path, and what a failure keeps from running."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from tasks_app.workflows.folding import PLANNED, status_of_node
from tasks_app.workflows.graph import AFTER_SUCCESS, Edge, Graph, Kind, Node, in_order
from tasks_app.workflows.members import Member
from tasks_app.workflows.status import WorkflowStatus, status_of
from zenith_worker.wire.states import Status

#: Failed parts that are described.
MOST_FAILURES: Final = 10


@dataclass(frozen=True)
class Failure:
    """A part that failed, or was cancelled, although nothing before it did.

    Attributes:
        blocked: how many parts do not run because of it.
        replayed_by: what was last sent in its place.
        in_chord: whether it is a part of a chord, whose body does not run with what is sent in its place.
    """

    member: Member
    blocked: int
    replayed_by: Member | None
    in_chord: bool


@dataclass(frozen=True)
class Outline:
    """A workflow in figures; times are those of its tasks that are known.

    Attributes:
        name: the name of its first task.
        counts: how many parts are in each status, planned ones included.
        critical: the keys of the parts on the path that took longest, in its order, and how many seconds they ran.
        failures: the first parts that failed, newest first; `more_failures` others are left out.
    """

    name: str
    status: WorkflowStatus
    counts: Mapping[str, int]
    created_at: datetime
    finished_at: datetime | None
    critical: Sequence[str]
    critical_seconds: float
    failures: Sequence[Failure]
    more_failures: int

    @property
    def total(self) -> int:
        """How many parts are known."""
        return sum(self.counts.values())

    @property
    def planned(self) -> int:
        """How many of them are not sent yet."""
        return self.counts.get(PLANNED, 0)

    @property
    def finished(self) -> int:
        """How many have ended, with any outcome."""
        return sum(self.counts.get(status, 0) for status in (Status.SUCCESS, Status.FAILURE, Status.REVOKED, Status.IGNORED))


def outline(graph: Graph, created_at: datetime, now: datetime) -> Outline:
    """Return what a graph says; `created_at` counts if no task is known."""
    tasks = [node.member for node in graph.nodes.values() if node.member is not None]
    counts = Counter(map(status_of_node, graph.nodes.values()))
    replays = _replays(graph)
    after, failed = graph.after(), _first_failed(graph)
    failures = [_failure(graph, member, replays, after) for member in failed[:MOST_FAILURES]]
    path, seconds = _critical(graph, now)
    replayed = sum(task.id in replays for task in tasks if task.status == Status.FAILURE)
    status = status_of({Status(name): count for name, count in counts.items() if name != PLANNED}, replayed)
    ended = [task.finished_at for task in tasks if task.finished_at is not None]
    return Outline(
        name=name_of(graph),
        status=status,
        counts=counts,
        created_at=min((task.created_at for task in tasks), default=created_at),
        finished_at=max(ended, default=None) if status != WorkflowStatus.RUNNING else None,
        critical=path,
        critical_seconds=seconds,
        failures=failures,
        more_failures=len(failed) - len(failures),
    )


def name_of(graph: Graph) -> str:
    """Return the name of the first part."""
    return next((node.name for node in graph.nodes.values() if node.name), "")


def _replays(graph: Graph) -> dict[UUID, Member]:
    """Return by task what was last sent in its place."""
    replays = {}
    for edge in graph.edges:
        dead, new = graph.nodes[edge.before].member, graph.nodes[edge.after].member
        if edge.kind == Kind.REPLAY and dead is not None and new is not None:
            replays[dead.id] = new
    return replays


def _failure(graph: Graph, member: Member, replays: Mapping[UUID, Member], after: Mapping[str, Sequence[Edge]]) -> Failure:
    key = str(member.id)
    in_chord = any(edge.kind == Kind.JOIN for edge in after[key])
    return Failure(member, _blocked(graph, key, after), replays.get(member.id), in_chord)


def _first_failed(graph: Graph) -> list[Member]:
    """Return what failed or was cancelled although nothing before it did, newest first."""
    before = graph.before()
    failed = []
    for key, node in graph.nodes.items():
        if node.member is None or not _failed(node):
            continue
        if any(_failed(graph.nodes[edge.before]) for edge in before[key] if edge.kind in AFTER_SUCCESS):
            continue
        failed.append(node.member)
    return sorted(failed, key=lambda member: member.finished_at or member.created_at, reverse=True)


def _failed(node: Node) -> bool:
    return node.member is not None and node.member.status in (Status.FAILURE, Status.REVOKED)


def _blocked(graph: Graph, key: str, after: Mapping[str, Sequence[Edge]]) -> int:
    """Return how many parts after this one will not run."""
    blocked: set[str] = set()
    waiting = [key]
    while waiting:
        for edge in after[waiting.pop()]:
            member = graph.nodes[edge.after].member
            if edge.kind in AFTER_SUCCESS and edge.after not in blocked and (member is None or _failed(graph.nodes[edge.after])):
                blocked.add(edge.after)
                waiting.append(edge.after)
    return len(blocked)


def _critical(graph: Graph, now: datetime) -> tuple[list[str], float]:
    """Return the path whose tasks ran longest, and for how many seconds: their last runs, without waiting."""
    before = graph.before()
    longest: dict[str, float] = {}
    came_from: dict[str, str | None] = {}
    for key in in_order(graph.nodes, graph.edges):
        member = graph.nodes[key].member
        came_from[key] = max((edge.before for edge in before[key]), key=longest.__getitem__, default=None)
        earlier = came_from[key]
        longest[key] = (longest[earlier] if earlier else 0.0) + (member.seconds(now) if member else 0.0)
    last = max(longest, key=longest.__getitem__, default=None)
    if last is None or not longest[last]:
        return [], 0.0
    path: list[str] = []
    step: str | None = last
    while step is not None:
        path.append(step)
        step = came_from[step]
    return path[::-1], longest[last]
