"""The few numbers that stand beside the navigation, on every page: one query, and the workers' heartbeats."""

from dataclasses import dataclass
from typing import Final

import redis
from django.db import connection

from zenith_site.common.sql import statements
from zenith_worker.wire import heartbeat

#: Where counting stops; the navigation then says that there are more.
COUNTED_TO: Final = 10_000


@dataclass(frozen=True, slots=True)
class NavCounts:
    """How much there is of what people look for. `workers` and `queues` are None while Redis does not answer.

    Attributes:
        running: tasks that workers run now, up to COUNTED_TO.
        waiting: tasks that are sent or about to be, and wait for a worker, up to COUNTED_TO.
        dead: dead letters that nobody has decided about, up to COUNTED_TO.
        workers: those that are online.
        queues: those that workers take from.
    """

    running: int
    waiting: int
    dead: int
    workers: int | None
    queues: int | None


_COUNT: Final = statements(__file__)["nav_counts"]


def read_nav_counts() -> NavCounts:
    """Count, in one query. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"most": COUNTED_TO})
        running, waiting, dead = cursor.fetchone()
    try:
        online = [beat for beat in heartbeat.read_all() if beat.online]
    except redis.RedisError:
        return NavCounts(running, waiting, dead, None, None)
    return NavCounts(running, waiting, dead, len(online), len({queue for beat in online for queue in beat.queues}))
