"""A diagram of a task's statuses with the path that it took highlighted, laid out for wide and for narrow screens."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from tasks_app.queries.task_spans import TaskSpans
from zenith_site.common.humanize import NOTHING, duration
from zenith_worker.wire.states import TERMINAL, Status

Point = tuple[float, float]
Transition = tuple[Status, Status]
#: Radius of a bend, and half the size of an arrow's head.
_BEND: Final = 7
_HEAD: Final = 3.5
#: Distance from a row at which an edge within it runs.
_BESIDE: Final = 9


@dataclass(frozen=True, slots=True)
class Node:
    """A status. `caption` says how long, how often, or since when the task has been in it."""

    status: Status
    caption: str
    x: float
    y: float
    lit: bool
    current: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge from one status to another, with its arrowhead."""

    path: str
    head: str
    lit: bool


@dataclass(frozen=True, slots=True)
class Diagram:
    """The context of `_path.html`; all numbers are in the drawing's own units."""

    name: str
    width: float
    height: float
    node_width: float
    node_height: float
    nodes: list[Node]
    edges: list[Edge]


@dataclass(frozen=True)
class Layout:
    """The places of the statuses, as column and row, and the sizes of the drawing."""

    name: str
    node: Point
    pitch: Point
    margin: Point
    places: Mapping[Status, tuple[int, int]]
    size: Point

    def corner(self, status: Status) -> Point:
        """Return the upper left corner of a status."""
        column, row = self.places[status]
        return self.margin[0] + column * self.pitch[0], self.margin[1] + row * self.pitch[1]

    def side(self, status: Status, right: float, down: float) -> Point:
        """Return a point of a status' box, given as fractions of its size."""
        x, y = self.corner(status)
        return x + right * self.node[0], y + down * self.node[1]


WIDE: Final = Layout(
    "wide", node=(118, 46), pitch=(200, 64), margin=(1, 15), size=(1120, 192),
    places={
        Status.SCHEDULED: (0, 1), Status.PENDING: (1, 1), Status.QUEUED: (2, 1), Status.RECEIVED: (3, 1),
        Status.STARTED: (4, 1), Status.RETRY: (4, 2), Status.REVOKED: (5, 0), Status.SUCCESS: (5, 1), Status.FAILURE: (5, 2),
    },
)  # fmt: skip
NARROW: Final = Layout(
    "narrow", node=(100, 44), pitch=(116, 78), margin=(1, 15), size=(334, 232),
    places={
        Status.SCHEDULED: (0, 0), Status.PENDING: (1, 0), Status.QUEUED: (2, 0), Status.RECEIVED: (2, 1),
        Status.STARTED: (1, 1), Status.RETRY: (0, 1), Status.REVOKED: (0, 2), Status.SUCCESS: (1, 2), Status.FAILURE: (2, 2),
    },
)  # fmt: skip
#: Statuses that few tasks reach: drawn in an extra row, only for a task that did.
RARE: Final = (Status.REPLACED, Status.IGNORED)


def layouts(visited: Collection[Status]) -> tuple[Layout, Layout]:
    """Return both layouts, with a row for the rare statuses among `visited`."""
    rare = [status for status in RARE if status in visited]
    return _with(WIDE, rare, columns=(3, 5)), _with(NARROW, rare, columns=(0, 1))


def _with(layout: Layout, rare: Sequence[Status], columns: tuple[int, int]) -> Layout:
    if not rare:
        return layout
    row = 1 + max(row for _, row in layout.places.values())
    places = {**layout.places, **{status: (columns[RARE.index(status)], row) for status in rare}}
    return replace(layout, places=places, size=(layout.size[0], layout.size[1] + layout.pitch[1]))


#: Edges that are always drawn; others are drawn only if the task took them.
USUAL: Final[tuple[Transition, ...]] = (
    (Status.SCHEDULED, Status.PENDING), (Status.PENDING, Status.QUEUED), (Status.QUEUED, Status.RECEIVED),
    (Status.RECEIVED, Status.STARTED), (Status.STARTED, Status.SUCCESS), (Status.STARTED, Status.FAILURE),
    (Status.STARTED, Status.REVOKED), (Status.STARTED, Status.RETRY), (Status.RETRY, Status.QUEUED),
)  # fmt: skip


def state_diagrams(history: TaskSpans) -> list[Diagram]:
    """Return the diagrams of a task's path, one for each layout."""
    taken = set(_transitions(history))
    return [_draw(layout, history, taken) for layout in layouts({step.status for step in history.steps})]


def path_in_words(history: TaskSpans) -> str:
    """Return the statuses that a task has been in, in order."""
    return ", ".join(step.status.label for step in history.steps) or "nothing is known yet"


def _transitions(history: TaskSpans) -> list[Transition]:
    """Return the edges that a task took. A short back-off is spent at a worker, but is drawn through the queue."""
    transitions: list[Transition] = []
    for before, after in pairwise(step.status for step in history.steps):
        if before == Status.RETRY and after in (Status.RECEIVED, Status.STARTED):
            transitions += [(Status.RETRY, Status.QUEUED), (Status.QUEUED, after)]
        else:
            transitions.append((before, after))
    return transitions


def _draw(layout: Layout, history: TaskSpans, taken: set[Transition]) -> Diagram:
    unusual = sorted(transition for transition in taken - set(USUAL) if transition[0] != transition[1])
    edges = [_edge(layout, transition, transition in taken) for transition in (*USUAL, *unusual)]
    return Diagram(layout.name, *layout.size, *layout.node, _nodes(layout, history), sorted(edges, key=lambda edge: edge.lit))


def _nodes(layout: Layout, history: TaskSpans) -> list[Node]:
    visits = Counter(step.status for step in history.steps)
    current = history.steps[-1].status if history.steps else None
    return [
        Node(
            status, _caption(status, visits[status], history, is_current=status == current), *layout.corner(status),
            lit=visits[status] > 0, current=status == current,
        )
        for status in layout.places
    ]  # fmt: skip


def _caption(status: Status, visits: int, history: TaskSpans, *, is_current: bool) -> str:
    if not visits:
        return NOTHING
    if status in TERMINAL:
        return f"after {duration(sum(span.seconds for span in history.spans))}"
    often = f"{visits} times, " if visits > 1 else ""
    return f"{often}{duration(history.seconds_in(status))}{' so far' if is_current and not often else ''}"


def _edge(layout: Layout, transition: Transition, lit: bool) -> Edge:
    points = _corners(layout, transition)
    return Edge(_rounded(points), _head(points[-2], points[-1]), lit)


def _corners(layout: Layout, transition: Transition) -> list[Point]:
    """Return the corner points of an edge: straight if the boxes face each other, else around the boxes between them."""
    source, target = transition
    (column, row), (to_column, to_row) = layout.places[source], layout.places[target]
    if row == to_row and abs(column - to_column) == 1 and (target, source) not in USUAL:
        right = to_column > column
        return [layout.side(source, right, 0.5), layout.side(target, not right, 0.5)]
    if column == to_column and abs(row - to_row) == 1:
        down = to_row > row
        return [layout.side(source, 0.5, down), layout.side(target, 0.5, not down)]
    if layout.name == WIDE.name and target in TERMINAL and column == to_column - 1:
        start, end = layout.side(source, 1, 0.5), layout.side(target, 0, 0.5)
        middle = (start[0] + end[0]) / 2
        return [start, (middle, start[1]), (middle, end[1]), end]
    if transition == (Status.RETRY, Status.QUEUED) and layout.name == WIDE.name:
        start, end = layout.side(source, 0, 0.5), layout.side(target, 0.5, 1)
        return [start, (end[0], start[1]), end]
    return _around(layout, source, target)


def _around(layout: Layout, source: Status, target: Status) -> list[Point]:
    """Return an edge that runs between the rows; within a row, forwards below it and backwards above it."""
    (column, row), (to_column, to_row) = layout.places[source], layout.places[target]
    down = to_column > column if row == to_row else to_row > row
    start = layout.side(source, 0.5, down)
    end = layout.side(target, 0.3 if target == Status.QUEUED else 0.5, down if row == to_row else not down)
    level = start[1] + (_BESIDE if down else -_BESIDE) if row == to_row else (start[1] + end[1]) / 2
    return [start, (start[0], level), (end[0], level), end]


def _rounded(points: Sequence[Point]) -> str:
    """Return the SVG path through these points, with rounded corners."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _towards(corner, before), _towards(corner, after)
        path += f"L{x1:g} {y1:g}Q{corner[0]:g} {corner[1]:g} {x2:g} {y2:g}"
    return path + f"L{points[-1][0]:g} {points[-1][1]:g}"


def _towards(corner: Point, other: Point) -> Point:
    """Return the point between a corner and another point at which the bend begins."""
    across, down = other[0] - corner[0], other[1] - corner[1]
    length = max(abs(across) + abs(down), 0.001)
    share = min(_BEND, length / 2) / length
    return corner[0] + across * share, corner[1] + down * share


def _head(before: Point, tip: Point) -> str:
    """Return the arrowhead at `tip` of an edge that comes from `before`."""
    across, down = tip[0] - before[0], tip[1] - before[1]
    length = max(abs(across) + abs(down), 0.001)
    x, y = across / length * 2 * _HEAD, down / length * 2 * _HEAD
    return f"M{tip[0]:g} {tip[1]:g}L{tip[0] - x - y / 2:g} {tip[1] - y + x / 2:g}L{tip[0] - x + y / 2:g} {tip[1] - y - x / 2:g}Z"
