"""Copy the paused queues to Redis, for workers, which do not query PostgreSQL.

The copies are written whenever a queue is paused or resumed (control/queues.py, control/attached_queues.py), and again every few
seconds (samples.py), so a lost or wrong copy is repaired.
"""

from tasks_app.models import Application, AttachedPause, QueuePause
from tasks_app.models.application import Kind
from zenith_worker.wire import pauses
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


def copy_attached() -> None:
    """Copy those of attached applications, each to its own key. Raises redis.RedisError or django.db.Error.

    One without any has an empty list there: a worker that finds nothing at all goes on with what it last knew.
    """
    attached = Application.objects.filter(kind=Kind.ATTACHED).order_by().values_list("name", flat=True)
    paused: dict[str, list[str]] = {name: [] for name in attached}
    for name, queue in AttachedPause.objects.order_by().values_list("application__name", "queue"):
        if name in paused:
            paused[name].append(queue)
    pauses.write(paused)
