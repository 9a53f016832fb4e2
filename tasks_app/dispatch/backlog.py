"""The relay's backlog: tasks that are due but not on the broker. Paused queues do not count."""

from dataclasses import dataclass
from typing import Final

from django.db import connection

from tasks_app.dispatch.publish import PENDING_QUEUES
from zenith_site.common.sql import statements

#: Tasks are counted up to this for each queue and each reason to wait.
COUNTED: Final = 10_000

_BACKLOG: Final = statements(__file__)["backlog"].format(pending_queues=PENDING_QUEUES)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many tasks wait for the relay, and for how many seconds the oldest has waited."""

    count: int
    oldest_seconds: float


def backlog() -> Backlog:
    """Return the backlog now; a dispatch that is being sent is part of it for a moment. One query. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(_BACKLOG, {"most": COUNTED})
        count, seconds = cursor.fetchone()
    return Backlog(count, max(0.0, seconds))
