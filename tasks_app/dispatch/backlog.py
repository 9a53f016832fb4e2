"""What the relay has yet to send: tasks that are due and not on the broker. Paused queues do not count."""

from dataclasses import dataclass
from typing import Final

from django.db import connection

from tasks_app.dispatch.publish import PENDING_QUEUES

#: Tasks are counted up to this for each queue and each kind.
COUNTED: Final = 10_000

_NOT_PAUSED: Final = "queue <> ALL(ARRAY(SELECT queue FROM tasks_app_queuepause))"
_BACKLOG: Final = f"""
    SELECT count(*), coalesce(extract(epoch FROM now() - min(since)), 0)::float8 FROM (
        SELECT created_at AS since FROM ({PENDING_QUEUES}) AS waiting CROSS JOIN LATERAL (
            SELECT created_at FROM tasks_app_task
            WHERE status = 'PENDING' AND queue = waiting.queue ORDER BY id LIMIT %(most)s) AS left_behind
        UNION ALL
        (SELECT not_before FROM tasks_app_task
            WHERE status = 'SCHEDULED' AND not_before <= now() AND {_NOT_PAUSED} LIMIT %(most)s)
        UNION ALL
        (SELECT not_before FROM tasks_app_task
            WHERE status = 'RETRY' AND held AND not_before <= now() AND {_NOT_PAUSED} LIMIT %(most)s)
    ) AS due
"""  # noqa: S608 -- no input is in it


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many tasks wait for the relay, and for how many seconds the first of them has."""

    count: int
    oldest_seconds: float


def backlog() -> Backlog:
    """Return what waits now; a dispatch that is just being sent is in it for a moment. One query. Raises django.db.Error."""
    with connection.cursor() as cursor:
        cursor.execute(_BACKLOG, {"most": COUNTED})
        count, seconds = cursor.fetchone()
    return Backlog(count, max(0.0, seconds))
