"""Folds parts that are alike into one box: those of a large group, the steps that follow each of them, a task's many children."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tasks_app.workflows.graph import Edge, Graph, Node, in_order
from zenith_worker.wire.states import OPEN, Status

#: Parts that are alike, up to which each has a box of its own.
ALONE: Final = 12
#: Stands for the status of a part that is not sent yet.
PLANNED: Final = "PLANNED"
#: Of several parts, the first of these that any has is the status of all.
_FIRST: Final = (Status.FAILURE, Status.STARTED, Status.RETRY, Status.RECEIVED, Status.QUEUED, Status.REVOKED)


@dataclass(frozen=True)
class Box:
    """One part, or several that are alike: tasks of the same name that follow the same parts. Its key is that of the first."""

    nodes: list[Node]
    counts: Mapping[str, int]

    @property
    def key(self) -> str:
        """The key of its first part."""
        return self.nodes[0].key

    @property
    def name(self) -> str:
        """The name of its tasks."""
        return self.nodes[0].name

    @property
    def is_fold(self) -> bool:
        """Whether it stands for several parts."""
        return len(self.nodes) > 1

    @property
    def status(self) -> str:
        """The status to draw it in: of several parts, that which matters most."""
        if not self.is_fold:
            return status_of_node(self.nodes[0])
        return next((status for status in _FIRST if self.counts.get(status)), None) or max(
            self.counts, key=lambda status: (self.counts[status], status)
        )

    @property
    def finished(self) -> int:
        """How many of its parts have ended."""
        return sum(count for status, count in self.counts.items() if status != PLANNED and status not in OPEN)


@dataclass(frozen=True)
class Folded:
    """The boxes of a graph in an order in which each edge leads to a later one, the edges between boxes, and each part's box."""

    boxes: list[Box]
    edges: list[Edge]
    box_of: Mapping[str, Box]


def status_of_node(node: Node) -> str:
    """Return the status of a part; PLANNED if it is not sent yet."""
    return PLANNED if node.member is None else node.member.status


def folded(graph: Graph, alone: int = ALONE) -> Folded:
    """Return the graph with parts that are alike in one box, if they are more than `alone`."""
    order = in_order(graph.nodes, graph.edges)
    place = {key: index for index, key in enumerate(graph.nodes)}
    boxes = []
    for keys in _alike(graph, order):
        keys.sort(key=place.__getitem__)
        groups = [keys] if len(keys) > alone else [[key] for key in keys]
        boxes += [_box([graph.nodes[key] for key in group]) for group in groups]
    box_of = {node.key: box for box in boxes for node in box.nodes}
    edges = dict.fromkeys(Edge(box_of[edge.before].key, box_of[edge.after].key, edge.kind) for edge in graph.edges)
    return Folded(boxes, [edge for edge in edges if edge.before != edge.after], box_of)


def _alike(graph: Graph, order: list[str]) -> list[list[str]]:
    """Return the keys of parts that are alike: of the same name and group, after parts that are alike."""
    before = graph.before()
    number_of: dict[str, int] = {}
    kinds: dict[tuple[object, ...], int] = {}
    alike: dict[int, list[str]] = defaultdict(list)
    for key in order:
        node = graph.nodes[key]
        kind = node.name, node.group, frozenset((number_of[edge.before], edge.kind) for edge in before[key])
        number_of[key] = kinds.setdefault(kind, len(kinds))
        alike[number_of[key]].append(key)
    return list(alike.values())


def _box(nodes: list[Node]) -> Box:
    return Box(nodes, Counter(map(status_of_node, nodes)))
