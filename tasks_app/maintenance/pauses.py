"""Redis' copy of which queues are paused, for the workers, which ask no database.

It is written whenever a queue is paused or resumed (control/queues.py) and again every few
seconds (samples.py), so one that got lost or came out wrong does not stay so.
"""

from tasks_app.models import QueuePause
from zenith_worker.wire.client import client
from zenith_worker.wire.keys import PAUSED


def copy() -> None:
    """Bring Redis up to date. Raises redis.RedisError or django.db.Error."""
    names = list(QueuePause.objects.values_list("queue", flat=True))
    if not names and not client().exists(PAUSED):
        return
    with client().pipeline(transaction=True) as pipe:
        pipe.delete(PAUSED)
        if names:
            pipe.sadd(PAUSED, *names)
        pipe.execute()
