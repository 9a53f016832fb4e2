"""Sort a list of tasks by a column that no index orders, among the newest matching tasks only.

The indexes give newest first, at any depth (index_scan.py). An index for every other column would be written with each step
of each task, so a list sorted by runtime, for example, sorts the newest `SORTED_AMONG` matching tasks, and says so.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from django.db.models import F

from tasks_app.models import Task

#: How many tasks are sorted; reading them by id takes a few milliseconds.
SORTED_AMONG: Final = 1_000
#: The orders and their columns; a leading `-` sorts in descending order.
COLUMNS: Final = {
    "name": "name", "status": "status", "queue": "queue", "worker": "worker", "attempts": "position", "runtime": "runtime",
    "created": "created_at",
}  # fmt: skip
#: The default order.
NEWEST_FIRST: Final = "-created"


def known_order(sort: str) -> str:
    """Return an order, or an empty text for the default one. Raises ValueError for an unknown order."""
    if sort.removeprefix("-") not in COLUMNS and sort:
        raise ValueError(f"there is no sort order {sort[:40]!r}; orders are {', '.join(COLUMNS)}, each also with a leading '-'")
    return "" if sort == NEWEST_FIRST else sort


def in_order(ids: Collection[UUID], sort: str) -> list[UUID]:
    """Return these tasks' ids in an order, in one query; tasks without a value come last, and equal ones newest first."""
    column = F(COLUMNS[sort.removeprefix("-")])
    order = column.desc(nulls_last=True) if sort.startswith("-") else column.asc(nulls_last=True)
    return list(Task.objects.filter(id__in=ids).order_by(order, "-created_at", "-id").values_list("id", flat=True))
