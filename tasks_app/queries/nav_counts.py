"""The counts in the navigation of every page: one query, and the workers' heartbeats."""

from dataclasses import dataclass
from typing import Final

import redis
from django.db import connection

from zenith_site.common.sql import statements
from zenith_worker.wire import heartbeat

#: Where counting stops; the navigation then shows that there are more.
COUNTED_TO: Final = 10_000


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
    """

    running: int
    waiting: int
    dead: int
    attached: tuple[str, ...]
    workers: int | None
    queues: int | None


_COUNT: Final = statements(__file__)["nav_counts"]


def read_nav_counts() -> NavCounts:
    """Return the counts, in one query. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"most": COUNTED_TO})
        running, waiting, dead, names = cursor.fetchone()
    attached = tuple(names or ())
    try:
        online = [beat for beat in heartbeat.read_all() if beat.online]
    except redis.RedisError:
        return NavCounts(running, waiting, dead, attached, None, None)
    return NavCounts(running, waiting, dead, attached, len(online), len({queue for beat in online for queue in beat.queues}))
