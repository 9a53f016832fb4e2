"""The statuses of a task as a small diagram, the path that it took lit; laid out twice, for a wide and for a narrow screen."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from tasks_app.queries.task_spans import TaskSpans
from zenith_site.common.humanize import NOTHING, duration
from zenith_worker.wire.states import TERMINAL, Status

Point = tuple[float, float]
Way = tuple[Status, Status]
#: Radius of a bend, and half the size of an arrow's head.
_BEND: Final = 7
_HEAD: Final = 3.5
#: How far from a row a way within it runs.
_BESIDE: Final = 9


@dataclass(frozen=True, slots=True)
class Node:
    """A status: `caption` says how long, how often, or since when the task is there."""

    status: Status
    caption: str
    x: float
    y: float
    lit: bool
    current: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """A way from one status to another, with its arrow's head."""

    path: str
    head: str
    lit: bool


@dataclass(frozen=True, slots=True)
class Diagram:
    """What `_path.html` draws; all numbers are the drawing's own units."""

    name: str
    width: float
    height: float
    node_width: float
    node_height: float
    nodes: list[Node]
    edges: list[Edge]


@dataclass(frozen=True)
class Layout:
    """Where the statuses stand, as column and row; and the ways between them that are always drawn, as corner points."""

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
        """Return a point of a status' box, in shares of its size."""
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
#: Statuses that few tasks come into: each is drawn where a task did, in a row of their own.
RARE: Final = (Status.REPLACED, Status.IGNORED)


def layouts(visited: Collection[Status]) -> tuple[Layout, Layout]:
    """Return both layouts with room for the rare statuses among `visited`."""
    rare = [status for status in RARE if status in visited]
    return _with(WIDE, rare, columns=(3, 5)), _with(NARROW, rare, columns=(0, 1))


def _with(layout: Layout, rare: Sequence[Status], columns: tuple[int, int]) -> Layout:
    if not rare:
        return layout
    row = 1 + max(row for _, row in layout.places.values())
    places = {**layout.places, **{status: (columns[RARE.index(status)], row) for status in rare}}
    return replace(layout, places=places, size=(layout.size[0], layout.size[1] + layout.pitch[1]))


#: The ways that are always drawn; others only where the task went them.
USUAL: Final[tuple[Way, ...]] = (
    (Status.SCHEDULED, Status.PENDING), (Status.PENDING, Status.QUEUED), (Status.QUEUED, Status.RECEIVED),
    (Status.RECEIVED, Status.STARTED), (Status.STARTED, Status.SUCCESS), (Status.STARTED, Status.FAILURE),
    (Status.STARTED, Status.REVOKED), (Status.STARTED, Status.RETRY), (Status.RETRY, Status.QUEUED),
)  # fmt: skip


def state_diagrams(course: TaskSpans) -> list[Diagram]:
    """Draw the path that a task took, in both layouts."""
    taken = set(_ways(course))
    return [_draw(layout, course, taken) for layout in layouts({step.status for step in course.steps})]


def path_in_words(course: TaskSpans) -> str:
    """Return the statuses that a task came into, in their order."""
    return ", ".join(step.status.label for step in course.steps) or "nothing is known yet"


def _ways(course: TaskSpans) -> list[Way]:
    """Return the ways that a task went. A short back-off is spent at a worker; it goes by way of the queue all the same."""
    ways: list[Way] = []
    for before, after in pairwise(step.status for step in course.steps):
        if before == Status.RETRY and after in (Status.RECEIVED, Status.STARTED):
            ways += [(Status.RETRY, Status.QUEUED), (Status.QUEUED, after)]
        else:
            ways.append((before, after))
    return ways


def _draw(layout: Layout, course: TaskSpans, taken: set[Way]) -> Diagram:
    unusual = sorted(way for way in taken - set(USUAL) if way[0] != way[1])
    edges = [_edge(layout, way, way in taken) for way in (*USUAL, *unusual)]
    return Diagram(layout.name, *layout.size, *layout.node, _nodes(layout, course), sorted(edges, key=lambda edge: edge.lit))


def _nodes(layout: Layout, course: TaskSpans) -> list[Node]:
    visits = Counter(step.status for step in course.steps)
    current = course.steps[-1].status if course.steps else None
    return [
        Node(
            status, _caption(status, visits[status], course, is_current=status == current), *layout.corner(status),
            lit=visits[status] > 0, current=status == current,
        )
        for status in layout.places
    ]  # fmt: skip


def _caption(status: Status, visits: int, course: TaskSpans, *, is_current: bool) -> str:
    if not visits:
        return NOTHING
    if status in TERMINAL:
        return f"after {duration(sum(span.seconds for span in course.spans))}"
    often = f"{visits} times, " if visits > 1 else ""
    return f"{often}{duration(course.seconds_in(status))}{' so far' if is_current and not often else ''}"


def _edge(layout: Layout, way: Way, lit: bool) -> Edge:
    points = _corners(layout, way)
    return Edge(_rounded(points), _head(points[-2], points[-1]), lit)


def _corners(layout: Layout, way: Way) -> list[Point]:
    """Return the corner points of a way: straight where the boxes face each other, else around what lies between."""
    source, target = way
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
    if way == (Status.RETRY, Status.QUEUED) and layout.name == WIDE.name:
        start, end = layout.side(source, 0, 0.5), layout.side(target, 0.5, 1)
        return [start, (end[0], start[1]), end]
    return _around(layout, source, target)


def _around(layout: Layout, source: Status, target: Status) -> list[Point]:
    """Leave by the top or the bottom and run between the rows; within a row, forwards below it and backwards above it."""
    (column, row), (to_column, to_row) = layout.places[source], layout.places[target]
    down = to_column > column if row == to_row else to_row > row
    start = layout.side(source, 0.5, down)
    end = layout.side(target, 0.3 if target == Status.QUEUED else 0.5, down if row == to_row else not down)
    level = start[1] + (_BESIDE if down else -_BESIDE) if row == to_row else (start[1] + end[1]) / 2
    return [start, (start[0], level), (end[0], level), end]


def _rounded(points: Sequence[Point]) -> str:
    """Return the path through these points, its corners bent."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _towards(corner, before), _towards(corner, after)
        path += f"L{x1:g} {y1:g}Q{corner[0]:g} {corner[1]:g} {x2:g} {y2:g}"
    return path + f"L{points[-1][0]:g} {points[-1][1]:g}"


def _towards(corner: Point, other: Point) -> Point:
    """Return the point on the way from a corner to another one where the bend begins."""
    across, down = other[0] - corner[0], other[1] - corner[1]
    length = max(abs(across) + abs(down), 0.001)
    share = min(_BEND, length / 2) / length
    return corner[0] + across * share, corner[1] + down * share


def _head(before: Point, tip: Point) -> str:
    """Return the arrow's head at the end of a way that comes from `before`."""
    across, down = tip[0] - before[0], tip[1] - before[1]
    length = max(abs(across) + abs(down), 0.001)
    x, y = across / length * 2 * _HEAD, down / length * 2 * _HEAD
    return f"M{tip[0]:g} {tip[1]:g}L{tip[0] - x - y / 2:g} {tip[1] - y + x / 2:g}L{tip[0] - x + y / 2:g} {tip[1] - y - x / 2:g}Z"
