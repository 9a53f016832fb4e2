"""Which queues are paused. PostgreSQL knows; Redis has a copy for the workers, which ask no database.

The copy is written whenever a queue is paused or resumed (control/queues.py) and again every few
seconds (samples.py), so one that got lost or came out wrong does not stay so.
"""

from typing import Final

from tasks_app.models import QueuePause
from tasks_app.tracking.line import client, text

_KEY: Final = "zenith:paused"


def read() -> frozenset[str]:
    """Return the names of the paused queues as Redis has them. Raises redis.RedisError."""
    return frozenset(text(name) for name in client().smembers(_KEY))


def copy() -> None:
    """Bring Redis up to date. Raises redis.RedisError or django.db.Error."""
    names = list(QueuePause.objects.values_list("queue", flat=True))
    if not names and not client().exists(_KEY):
        return
    with client().pipeline(transaction=True) as pipe:
        pipe.delete(_KEY)
        if names:
            pipe.sadd(_KEY, *names)
        pipe.execute()
