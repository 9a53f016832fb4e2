"""Places boxes in columns, so that every edge leads to the right and few of them cross. A graph has always the same layout.

A box is one column to the right of the last that leads to it. Within a column, boxes are in the order of the middle of those that
lead to them (the barycenter method of Sugiyama, Tagawa and Toda, 1981), and else in their own order.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tasks_app.workflows.graph import Edge

#: Times that each column is put in order.
_SWEEPS: Final = 2


@dataclass(frozen=True)
class Layout:
    """The column and the row of each box, by key, and how many boxes each column has."""

    places: Mapping[str, tuple[int, int]]
    columns: Sequence[int]


def layout(keys: Sequence[str], edges: Sequence[Edge]) -> Layout:
    """Return the places of boxes. Each edge leads from one of the keys to a later one."""
    before: dict[str, list[str]] = defaultdict(list)
    after: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        before[edge.after].append(edge.before)
        after[edge.before].append(edge.after)
    column: dict[str, int] = {}
    for key in keys:
        column[key] = max((column[other] + 1 for other in before[key]), default=0)
    columns: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for key in keys:
        columns[column[key]].append(key)
    row = {key: float(index) for keys_of_one in columns for index, key in enumerate(keys_of_one)}
    for _ in range(_SWEEPS):
        for neighbours, sweep in ((before, columns), (after, columns[::-1])):
            for keys_of_one in sweep:
                _put_in_order(keys_of_one, neighbours, row)
    return Layout({key: (column[key], int(row[key])) for key in keys}, [len(keys_of_one) for keys_of_one in columns])


def _put_in_order(keys: list[str], neighbours: Mapping[str, list[str]], row: dict[str, float]) -> None:
    def middle(key: str) -> float:
        others = neighbours.get(key)
        return sum(row[other] for other in others) / len(others) if others else row[key]

    keys.sort(key=lambda key: (middle(key), row[key]))
    row.update((key, float(index)) for index, key in enumerate(keys))
