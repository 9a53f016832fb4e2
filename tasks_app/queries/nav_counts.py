"""The counts in the navigation of every page: one query, and the workers' heartbeats."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

import redis
from django.db import connection

from tasks_app.models.application import Visible
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.queries.application_names import attached_names, seen_among
from tasks_app.queries.status_counts import status_counts
from zenith_site.common.sql import statements
from zenith_worker.wire import heartbeat
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import Status

#: Where counting stops; the navigation then shows that there are more.
COUNTED_TO: Final = 10_000
_WAITING: Final = (Status.PENDING, Status.QUEUED, Status.RECEIVED)


@dataclass(frozen=True, slots=True)
class NavCounts:
    """The counts in the navigation. `workers` and `queues` are None while Redis is unreachable.

    Attributes:
        running: running tasks, up to COUNTED_TO.
        waiting: tasks that wait for a worker, on the broker or about to be sent there, up to COUNTED_TO.
        dead: open dead letters, up to COUNTED_TO.
        attached: the names of the applications besides Zenith's own, in order.
        workers: online workers.
        queues: queues that online workers consume.
        at_least: whether more tasks may run or wait: for a limited caller, a status with too many to count is left out.
    """

    running: int
    waiting: int
    dead: int
    attached: tuple[str, ...]
    workers: int | None
    queues: int | None
    at_least: bool = False


def _limited(visible: Set[str]) -> NavCounts:
    counts = status_counts(visible, (Status.STARTED, *_WAITING))
    letters = Selection(visible=visible).query().filter(state=LetterState.OPEN).order_by()[:COUNTED_TO].count()
    attached = tuple(seen_among(attached_names(), visible))
    machines = _machines() if NATIVE_NAME in visible else (None, None)
    waiting = min(COUNTED_TO, sum(counts[status] or 0 for status in _WAITING))
    return NavCounts(counts[Status.STARTED] or 0, waiting, letters, attached, *machines, at_least=None in counts.values())


def _machines() -> tuple[int | None, int | None]:
    """Return how many of Zenith's own workers are online and how many queues they consume; None if Redis cannot be reached."""
    try:
        online = [beat for beat in heartbeat.read_all() if beat.online]
    except redis.RedisError:
        return None, None
    return len(online), len({queue for beat in online for queue in beat.queues})


_COUNT: Final = statements(__file__)["nav_counts"]


def read_nav_counts(visible: Visible = None) -> NavCounts:
    """Return the counts, in one query, or of the applications that a caller may see, in a few. Raises django.db.Error."""
    if visible is not None:
        return _limited(visible)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"most": COUNTED_TO})
        running, waiting, dead, names = cursor.fetchone()
    return NavCounts(running, waiting, dead, tuple(names or ()), *_machines())
