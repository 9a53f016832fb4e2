"""Draws the graph of a workflow on the server, as inline SVG, and describes the same in rows of a table.

Boxes are in columns, from left to right; each is a link. Nothing is conveyed by color alone: every box says its status, and edges
of different kinds have different strokes.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

from tasks_app.workflows.folding import PLANNED, Box, Folded
from tasks_app.workflows.graph import Edge, Node
from tasks_app.workflows.layout import layout
from zenith_site.common.humanize import duration
from zenith_worker.wire.states import OPEN, Status

WIDTH: Final = 190
HEIGHT: Final = 46
_GAP_X: Final = 56
_GAP_Y: Final = 14
_MARGIN: Final = 4
#: Boxes that are drawn; the table lists all.
MOST: Final = 150
_LONGEST: Final = 25
#: What counts first if not all boxes can be drawn.
_MATTERS: Final = (Status.FAILURE, Status.STARTED, Status.RETRY)
#: Parts that a row names as those before it.
_BEFORE_SHOWN: Final = 3


@dataclass(frozen=True)
class DrawnBox:
    """A box: its corner, its two lines, where it leads, and its classes."""

    x: float
    y: float
    title: str
    below: str
    url: str
    words: str
    status: str
    is_fold: bool
    is_critical: bool

    @property
    def css(self) -> str:
        """Its classes."""
        names = [_css(self.status), "fold" if self.is_fold else "", "critical" if self.is_critical else ""]
        return " ".join(filter(None, names))


@dataclass(frozen=True)
class DrawnEdge:
    """An edge: its curve and its classes."""

    path: str
    css: str


@dataclass(frozen=True)
class Drawing:
    """The context of `workflows/_graph.html`."""

    width: float
    height: float
    boxes: list[DrawnBox]
    edges: list[DrawnEdge]
    left_out: int
    words: str


@dataclass(frozen=True)
class Row:
    """A row of the table: a box, or one part of it. `key` is that of the row's element."""

    key: str
    name: str
    url: str
    task_status: str
    counts: str
    before: list[str]
    started_at: datetime | None
    seconds: float | None
    error: str
    attempt: int


def drawing(folded: Folded, critical: Collection[str], now: datetime) -> Drawing | None:
    """Return the drawing of a workflow's boxes; None without any."""
    boxes = _drawn(folded.boxes)
    keys = {box.key for box in boxes}
    edges = [edge for edge in folded.edges if edge.before in keys and edge.after in keys]
    if not boxes:
        return None
    placed = layout([box.key for box in boxes], edges)
    tallest = max(placed.columns)
    corners: dict[str, tuple[float, float]] = {
        key: (_MARGIN + column * (WIDTH + _GAP_X), _MARGIN + (row + (tallest - placed.columns[column]) / 2) * (HEIGHT + _GAP_Y))
        for key, (column, row) in placed.places.items()
    }
    on_path = {folded.box_of[key].key for key in critical}
    steps = _steps([folded.box_of[key].key for key in critical])
    return Drawing(
        width=2 * _MARGIN + len(placed.columns) * (WIDTH + _GAP_X) - _GAP_X,
        height=2 * _MARGIN + tallest * (HEIGHT + _GAP_Y) - _GAP_Y,
        boxes=[_box(box, corners[box.key], is_critical=box.key in on_path, now=now) for box in boxes],
        edges=[_edge(edge, corners, is_critical=(edge.before, edge.after) in steps) for edge in edges],
        left_out=len(folded.boxes) - len(boxes),
        words=f"{len(boxes)} boxes and {len(edges)} arrows; the table below says the same",
    )


def rows(folded: Folded, boxes: Sequence[Box], now: datetime) -> list[Row]:
    """Return a row for each of these boxes."""
    before: dict[str, list[str]] = defaultdict(list)
    for edge in folded.edges:
        before[edge.after].append(f"{folded.box_of[edge.before].name or 'unknown'} {edge.kind.words} it")
    return [_row(box, before[box.key], now) for box in boxes]


def rows_of_parts(nodes: Sequence[Node], now: datetime) -> list[Row]:
    """Return a row for each of these parts of one box."""
    return [_row(Box([node], {}), [], now) for node in nodes]


def counted(box: Box) -> str:
    """Return how many parts of a box are in which status, in words."""
    ordered = [*(status for status in Status if box.counts.get(status)), *([PLANNED] if box.counts.get(PLANNED) else [])]
    return ", ".join(f"{box.counts[status]:,} {str(status).lower()}" for status in ordered)


def part_url(key: str) -> str:
    """Return the query that shows the parts of a box."""
    return f"?{urlencode({'part': key})}"


def _drawn(boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes that are drawn, in their order: if they are too many, first of all those that failed or run."""
    if len(boxes) <= MOST:
        return list(boxes)
    order = sorted(range(len(boxes)), key=lambda index: (boxes[index].status not in _MATTERS, index))
    return [boxes[index] for index in sorted(order[:MOST])]


def _box(box: Box, corner: tuple[float, float], *, is_critical: bool, now: datetime) -> DrawnBox:
    title = _name(box)
    below = f"{box.finished:,} of {len(box.nodes):,} done" if box.is_fold else _below(box.nodes[0], now)
    failed = box.counts.get(Status.FAILURE, 0)
    if box.is_fold and failed:
        below += f", {failed:,} failed"
    words = f"{title}: {counted(box) if box.is_fold else below}"
    return DrawnBox(*corner, _short(title), below, _url(box), words, box.status, box.is_fold, is_critical)


def _below(node: Node, now: datetime) -> str:
    member = node.member
    if member is None:
        return "planned"
    seconds = member.seconds(now)
    ran = f" · {duration(seconds)}" if seconds and (member.is_finished or member.status == Status.STARTED) else ""
    return f"{member.status.label.lower()}{ran}"


def _edge(edge: Edge, corners: dict[str, tuple[float, float]], *, is_critical: bool) -> DrawnEdge:
    (left, top), (right, bottom) = corners[edge.before], corners[edge.after]
    start, end = left + WIDTH, right - 2
    high, low = top + HEIGHT / 2, bottom + HEIGHT / 2
    bend = min(_GAP_X, (end - start) / 2)
    path = f"M{start:g} {high:g}C{start + bend:g} {high:g} {end - bend:g} {low:g} {end:g} {low:g}"
    head = f"M{end - 5:g} {low - 4:g}L{end:g} {low:g}L{end - 5:g} {low + 4:g}"
    return DrawnEdge(path + head, f"edge-{edge.kind}" + (" critical" if is_critical else ""))


def _row(box: Box, before: list[str], now: datetime) -> Row:
    member = box.nodes[0].member if not box.is_fold else None
    shown = before[:_BEFORE_SHOWN] + ([f"and {len(before) - _BEFORE_SHOWN} more"] if len(before) > _BEFORE_SHOWN else [])
    return Row(
        key=f"part-{box.key}",
        name=_name(box),
        url=_url(box) if box.is_fold or member is not None else "",
        task_status=member.status if member else "",
        counts=counted(box) if box.is_fold else "",
        before=shown,
        started_at=member.started_at if member else None,
        seconds=member.seconds(now) if member and member.started_at else None,
        error=member.error if member else "",
        attempt=member.attempt if member else 0,
    )


def _name(box: Box) -> str:
    name = box.name or "unknown"
    return f"{name} ({len(box.nodes):,})" if box.is_fold else name


def _url(box: Box) -> str:
    member = box.nodes[0].member
    return part_url(box.key) if box.is_fold or member is None else reverse("tasks:task", args=[member.id])


def _steps(keys: Sequence[str]) -> set[tuple[str, str]]:
    return set(pairwise(keys))


def _css(status: str) -> str:
    return "planned" if status == PLANNED else f"st-{status.lower()}" + (" open" if status in OPEN else "")


def _short(text: str) -> str:
    """Shorten a name from the left: its end says most."""
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"
