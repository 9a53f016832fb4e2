"""The graph of a workflow: what runs or ran, what is planned, and what leads to what."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from tasks_app.workflows.members import Member, Members, Told
from tasks_app.workflows.signatures import Planned, Planner, first_ids
from zenith_worker.wire.ids import key_of

#: Planned parts of one workflow that are read.
MOST_PLANNED: Final = 10_000
#: Edges: a chord of many parts whose body is a large group has very many.
MOST_EDGES: Final = 50_000


class Kind(StrEnum):
    """How one part leads to another."""

    SENDS = "sends"
    NEXT = "next"
    JOIN = "join"
    CALLBACK = "callback"
    REPLACED = "replaced"
    REPLAY = "replay"

    @property
    def words(self) -> str:
        """The words between both parts' names."""
        return _WORDS[self]


_WORDS: Final = {
    Kind.SENDS: "sends", Kind.NEXT: "then", Kind.JOIN: "joins in", Kind.CALLBACK: "calls back", Kind.REPLACED: "is replaced by",
    Kind.REPLAY: "is run again as",
}  # fmt: skip
#: What does not happen if the part before it fails.
AFTER_SUCCESS: Final = frozenset({Kind.NEXT, Kind.JOIN, Kind.CALLBACK})


@dataclass(frozen=True, slots=True)
class Node:
    """A part: a task with its row, or a planned one without."""

    key: str
    name: str
    member: Member | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """One part leads to another; both are keys."""

    before: str
    after: str
    kind: Kind


@dataclass
class Graph:
    """The parts of a workflow by key, in the order in which they were sent or will be, and how they lead to each other.

    Attributes:
        if_fails: the names of the tasks that are called if a part that has not ended fails.
        unknown: what follows is not known, since it was not told, or was too long.
        more: parts were left out.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    if_fails: tuple[str, ...] = ()
    unknown: bool = False
    more: bool = False

    def before(self) -> dict[str, list[Edge]]:
        """Return by part the edges that lead to it."""
        edges = defaultdict(list)
        for edge in self.edges:
            edges[edge.after].append(edge)
        return edges

    def after(self) -> dict[str, list[Edge]]:
        """Return by part the edges that lead on from it."""
        edges = defaultdict(list)
        for edge in self.edges:
            edges[edge.before].append(edge)
        return edges


def graph_of(read: Members) -> Graph:
    """Return the graph of a workflow, without cycles."""
    builder = _Builder(read)
    builder.build()
    graph = builder.graph
    graph.edges = _without_cycles(graph.nodes, graph.edges)
    return graph


class _Builder:
    def __init__(self, read: Members) -> None:
        self._read = read
        self._application = read.application.key_name
        self._by_id = {member.id: member for member in read.tasks}
        nodes = {str(member.id): Node(str(member.id), member.name, member, str(member.group_id or "")) for member in read.tasks}
        self.graph = Graph(nodes, more=read.more)
        self._entries = self._entries_of_bodies()
        self._planner = Planner(self._key, most=MOST_PLANNED, most_edges=MOST_EDGES)
        # What follows a task that was run again follows that one now; the rows of what did not run stay.
        self._not_run = Planner(self._key, most=MOST_PLANNED, most_edges=MOST_EDGES)
        self._run_again = {member.replay_of_id for member in read.tasks}

    def build(self) -> None:
        """Add what is planned, and every edge."""
        for member in self._read.tasks:
            self._plan(member, self._read.told.get(member.id, Told()))
        planned = self._planner.parts
        for part in planned.values():
            self.graph.nodes.setdefault(part.key, Node(part.key, part.name, group=part.group))
        self._connect_tasks()
        self._connect_planned([*planned.values(), *self._not_run.parts.values()])
        self.graph.if_fails = tuple(sorted(self._planner.if_fails))
        watched = self._read.application.is_watched
        told = self._read.told.values()
        self.graph.unknown = watched or any(item.opaque or item.cut for item in told)
        self.graph.more |= self._planner.more

    def _key(self, celery_id: str) -> str:
        return str(key_of(celery_id, self._application))

    def _entries_of_bodies(self) -> dict[UUID, list[str]]:
        """Return by group, or by part if that has none, the keys of the tasks with which its chord's body begins."""
        entries = {}
        for id_, told in self._read.told.items():
            if told.chord is not None:
                entries[self._by_id[id_].group_id or id_] = [self._key(first) for first in first_ids(told.chord)]
        return entries

    def _joins(self, member: Member) -> list[str]:
        told = self._read.told.get(member.id)
        if told is None or not told.has_chord or member.group_id is None:
            return []
        return self._entries.get(member.group_id, [])

    def _plan(self, member: Member, told: Told) -> None:
        if told.embed:
            planner = self._not_run if member.is_finished and member.id in self._run_again else self._planner
            planner.follow(str(member.id), told.embed)
        if told.chord is not None and told.has_chord:
            self._planner.join([], told.chord)

    def _connect_tasks(self) -> None:
        joined = {entry for member in self._read.tasks for entry in self._joins(member)}
        for member in self._read.tasks:
            key = str(member.id)
            for entry in self._joins(member):
                if entry in self.graph.nodes:
                    self._add(key, entry, Kind.JOIN)
            if member.replay_of_id in self._by_id:
                self._add(str(member.replay_of_id), key, Kind.REPLAY)
            parent = self._by_id.get(member.parent_id) if member.parent_id else None
            replaces = parent is not None and parent.was_replaced and str(parent.id) in self._joins(member)
            if parent is not None and key not in joined and not replaces:
                self._add(str(parent.id), key, self._kind(parent, member))
        self._connect_steps()

    def _connect_steps(self) -> None:
        """Add the edges to next steps that do not say themselves what came before: those that replace a task, for example."""
        led_to = {edge.after for edge in self.graph.edges}
        for member in self._read.tasks:
            told = self._read.told.get(member.id, Told())
            key, following = str(member.id), self._key(told.next_id) if told.next_id else ""
            if following in self.graph.nodes and (following not in led_to or self._is_replacement(key, following)):
                self._add(key, following, Kind.NEXT)

    def _kind(self, parent: Member, child: Member) -> Kind:
        told = self._read.told.get(parent.id, Told())
        if told.next_id is not None and self._key(told.next_id) == str(child.id):
            return Kind.NEXT
        if told.next_kind in ("group", "chord") and child.group_id is not None:
            return Kind.NEXT
        if told.next_id is None and told.next_name and told.next_name == child.name:
            return Kind.NEXT  # what is run again has no ids of what follows
        return Kind.SENDS

    def _connect_planned(self, planned: Iterable[Planned]) -> None:
        """Add the edges of what is planned, unless rows tell it: a step that never ran has a row, but no parent."""
        nodes, led_to = self.graph.nodes, {edge.after for edge in self.graph.edges}
        for part in planned:
            if part.key not in nodes:
                continue
            is_told = nodes[part.key].member is not None and part.key in led_to
            for before, kind in part.after:
                if before in nodes and not (is_told and nodes[before].member is not None):
                    self._add(before, part.key, Kind(kind))

    def _add(self, before: str, after: str, kind: Kind) -> None:
        if len(self.graph.edges) >= MOST_EDGES:
            self.graph.more = True
        elif kind in AFTER_SUCCESS and self._is_replacement(before, after):
            self.graph.edges.append(Edge(after, before, Kind.REPLACED))
        elif before != after:
            self.graph.edges.append(Edge(before, after, kind))

    def _is_replacement(self, part: str, task: str) -> bool:
        """Whether a task's body has sent this part in the task's place: the last part of what it sent has the task's own id."""
        first, last = self.graph.nodes[task].member, self.graph.nodes[part].member
        return first is not None and first.was_replaced and (last is None or last.created_at >= first.created_at)


def in_order(keys: Iterable[str], edges: Iterable[Edge]) -> list[str]:
    """Return the keys such that each edge leads to a later one. In a cycle, which only odd messages make, the first is first."""
    rest = dict.fromkeys(keys, 0)
    after: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        rest[edge.after] += 1
        after[edge.before].append(edge.after)
    order: list[str] = []
    ready = [key for key, waits in rest.items() if not waits]
    while rest:
        ready = ready or [next(iter(rest))]
        for key in ready:
            del rest[key]
        order += ready
        freed = []
        for other in (other for key in ready for other in after[key] if other in rest):
            rest[other] -= 1
            if not rest[other]:
                freed.append(other)
        ready = freed
    return order


def _without_cycles(nodes: Iterable[str], edges: Iterable[Edge]) -> list[Edge]:
    edges = dict.fromkeys(edges)
    place = {key: index for index, key in enumerate(in_order(nodes, edges))}
    return [edge for edge in edges if place[edge.before] < place[edge.after]]
