"""What waits in the queues of other applications: as their observers measure it, or as their workers count it.

Zenith's own queues are read from its broker (samples.py).
"""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from tasks_app.models import Application, Task
from tasks_app.watching import queue_state
from tasks_app.watching.queue_state import ObservedQueue
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status, position

#: Messages that are looked up for their ages at most, of one application.
_LOOKED_UP: Final = 2000
#: The position of a task that was sent, and not received yet.
_SENT: Final = position(0, 0, Status.QUEUED)


def depths_of(beats: Iterable[WorkerBeat]) -> dict[str, tuple[int, float]]:
    """Return how many messages wait in each queue by the newest count of the workers online, and how many seconds old it is."""
    newest: dict[str, tuple[int, float]] = {}
    for beat in beats:
        if not beat.online or beat.depths_age is None:
            continue
        age = beat.heartbeat_age + beat.depths_age
        for queue, number in beat.depths:
            if queue not in newest or age < newest[queue][1]:
                newest[queue] = (number, age)
    return newest


def observed_queues(
    rows: Iterable[Application], beats: Mapping[str, Iterable[WorkerBeat]]
) -> dict[str, dict[str, ObservedQueue]]:  # fmt: skip
    """Return the queues of other applications of which somebody told, by application and name. Raises redis.RedisError.

    `beats`: the heartbeats of their workers, by application.
    """
    rows = list(rows)
    measured = queue_state.read_several([row.name for row in rows if row.is_watched])
    now = time.time()
    return {
        row.name: {
            **{
                name: ObservedQueue(name=name, depth=depth, at=now - age)
                for name, (depth, age) in depths_of(beats[row.name]).items()
            },
            **measured.get(row.name, {}),
        }
        for row in rows
    }


def oldest_of(application: Application, queues: Iterable[ObservedQueue]) -> dict[str, datetime]:
    """Return when the oldest message of each of these queues was sent, where that is known. One query, if any.

    It is known of the messages that are next, if their senders told when they sent them. A task that was received before waits
    once more, and nobody knows since when.
    """
    ids = [(queue.name, id_) for queue in queues for id_ in queue.next_ids][:_LOOKED_UP]
    keys = {id_: key_of(id_, application.key_name) for _, id_ in ids}
    if not keys:
        return {}
    rows = Task.objects.filter(id__in=keys.values(), position=_SENT)
    queued_at = {key: at for key, at in rows.values_list("id", "queued_at") if at is not None}
    oldest: dict[str, datetime] = {}
    for name, id_ in ids:
        at = queued_at.get(keys[id_])
        if at is not None:
            oldest[name] = min(oldest.get(name, at), at)
    return oldest
