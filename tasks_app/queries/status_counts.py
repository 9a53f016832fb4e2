"""How many tasks are in each status, for tabs, figures and the navigation: counted along indexes, and never far."""

from collections.abc import Collection, Iterable, Mapping, Set
from typing import Final

from django.db import connection
from django.db.models import Count

from tasks_app.models import Application, Task
from tasks_app.models.application import Visible, of_application
from tasks_app.search.planner import status_counts_of
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import Status

#: Where counting a status stops; nobody reads a longer list to its end.
COUNTED_TO: Final = 10_000


def status_counts(visible: Visible = None, among: Collection[Status] = tuple(Status)) -> Mapping[Status, int | None]:
    """Return how many of the tasks that a caller may see are in each of these statuses, up to COUNTED_TO each.

    None where a limited caller sees Zenith's own tasks and too many of all applications are in a status (see `own_counts`).
    One query without a limit, four at most with one.
    """
    if visible is None:
        return _of_all(among)
    attached = _of_attached(visible - {NATIVE_NAME}, among)
    if NATIVE_NAME not in visible:
        return attached
    return {status: _sum(attached[status], own) for status, own in own_counts(among).items()}


def own_counts(among: Collection[Status] = tuple(Status)) -> dict[Status, int | None]:
    """Return how many of Zenith's own tasks are in each of these statuses; None for some. Two queries.

    They have no index, so only those are read of which all applications have fewer than COUNTED_TO in the status.
    """
    few = [status for status, number in _of_all(among).items() if number < COUNTED_TO]
    tasks = Task.objects.filter(of_application(NATIVE_NAME), status__in=few).order_by()
    counted = dict(tasks.values_list("status").annotate(number=Count("*")))
    return {status: counted.get(status, 0) if status in few else None for status in among}


def _of_all(among: Iterable[Status]) -> dict[Status, int]:
    """Return the counts of all applications; one query along the index."""
    statuses = list(among)
    count_one = "(SELECT %s AS status, count(*) FROM (SELECT FROM tasks_app_task WHERE status = %s LIMIT %s) AS counted)"
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([count_one] * len(statuses)), [word for s in statuses for word in (s, s, COUNTED_TO)])
        return {Status(status): count for status, count in cursor.fetchall()}


def _of_attached(names: Set[str], among: Iterable[Status]) -> dict[Status, int]:
    ids = Application.objects.filter(name__in=names).order_by().values_list("id", flat=True)
    counted = status_counts_of(ids, COUNTED_TO, among).values()
    return {status: min(COUNTED_TO, sum(of_one.get(status, 0) for of_one in counted)) for status in among}


def _sum(attached: int, own: int | None) -> int | None:
    if attached >= COUNTED_TO:
        return COUNTED_TO
    return None if own is None else min(COUNTED_TO, attached + own)
