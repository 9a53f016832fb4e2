"""Copy the paused queues to Redis, for workers, which do not query PostgreSQL.

The copy is written whenever a queue is paused or resumed (control/queues.py), and again every few seconds (samples.py), so a
lost or wrong copy is repaired.
"""

from tasks_app.models import QueuePause
from zenith_worker.wire.client import client
from zenith_worker.wire.keys import PAUSED


def copy() -> None:
    """Copy the paused queues from PostgreSQL to Redis. Raises redis.RedisError or django.db.Error."""
    names = list(QueuePause.objects.values_list("queue", flat=True))
    if not names and not client().exists(PAUSED):
        return
    with client().pipeline(transaction=True) as pipe:
        pipe.delete(PAUSED)
        if names:
            pipe.sadd(PAUSED, *names)
        pipe.execute()
