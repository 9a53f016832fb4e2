"""Sorting a list of tasks by a column that no index orders: among the newest that match, and no further.

Newest first is the order that the indexes know, at any depth (index_scan.py). An index for every other column would be written
with each step of each task; so what is sorted by runtime, say, are the newest `SORTED_AMONG` tasks that match, and the list
says so.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from django.db.models import F

from tasks_app.models import Task

#: How many are sorted: they are fetched by their ids, a few milliseconds' worth.
SORTED_AMONG: Final = 1_000
#: What can be sorted by, and the column that says it; a `-` in front sorts downwards.
COLUMNS: Final = {
    "name": "name", "status": "status", "queue": "queue", "worker": "worker", "attempts": "position", "runtime": "runtime",
    "created": "created_at",
}  # fmt: skip
#: The lists' own order.
NEWEST_FIRST: Final = "-created"


def known_order(sort: str) -> str:
    """Return an order as it is kept: nothing for the list's own. Raises ValueError for one that there is not."""
    if sort.removeprefix("-") not in COLUMNS and sort:
        raise ValueError(f"there is no sort order {sort[:40]!r}; orders are {', '.join(COLUMNS)}, each also with a leading '-'")
    return "" if sort == NEWEST_FIRST else sort


def in_order(ids: Collection[UUID], sort: str) -> list[UUID]:
    """Return these tasks' ids in an order, in one query; what has no value comes last, and equals newest first."""
    column = F(COLUMNS[sort.removeprefix("-")])
    order = column.desc(nulls_last=True) if sort.startswith("-") else column.asc(nulls_last=True)
    return list(Task.objects.filter(id__in=ids).order_by(order, "-created_at", "-id").values_list("id", flat=True))
