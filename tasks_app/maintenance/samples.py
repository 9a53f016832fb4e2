"""Looking at the workers and the queues a few times a minute, and keeping what was seen: load and depth over time.

Any number of engines may look. A look is one transaction under an advisory lock, and one that comes
too soon after another engine's is left out, so a mean is not distorted by the number of engines.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from tasks_app.maintenance import compaction, pauses
from tasks_app.models import QueuePause, QueueSample, Task
from tasks_app.recording.arrays import column
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.application import celery_app
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat
from zenith_site.common.sql import statements
from zenith_worker.wire import broker_queues
from zenith_worker.wire.heartbeat import WorkerBeat, read_all
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.queue_names import LONGEST
from zenith_worker.wire.states import Status

#: Seconds between two looks.
LOOK_EVERY: Final = 10.0
#: Newest waiting tasks whose queues are looked at, even if nobody else knows these queues.
NEWEST: Final = 1000

_SQL: Final = statements(__file__)
_LOAD: Final = _SQL["sample_load"]
_QUEUES: Final = _SQL["sample_queues"]


@dataclass(frozen=True, slots=True)
class QueueNow:
    """A queue as the broker has it at this moment.

    `oldest_at` is since when the oldest waiting message's task is on the broker; None where none waits
    or PostgreSQL does not know its task. `unreadable`: a key of it holds no list, so nobody knows what waits.
    """

    name: str
    depths: tuple[int, ...]
    unacknowledged: int
    oldest_at: datetime | None
    unreadable: bool = False

    @property
    def depth(self) -> int:
        """Messages that wait, of every priority."""
        return sum(self.depths)

    @property
    def oldest_seconds(self) -> float | None:
        """For how long the oldest has waited."""
        return None if self.oldest_at is None else max(0.0, (timezone.now() - self.oldest_at).total_seconds())


def run(stop: threading.Event) -> None:
    """Look, and sum up what is over, until `stop` is set."""
    repeat(stop, "samples", _once, every=LOOK_EVERY)


def _once() -> bool:
    with isolate_faults("samples", "load and queues"):
        take()
    return compaction.compact()


def take() -> bool:
    """Take one look and keep it; return whether it counted. Raises redis.RedisError or django.db.Error."""
    pauses.copy()
    beats = [beat for beat in read_all() if beat.online]
    load = [len(beats), sum(beat.slots for beat in beats), sum(beat.busy for beat in beats)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOAD, [*load, AdvisoryLock.SAMPLES, 0.8 * LOOK_EVERY])
        if not cursor.rowcount:
            return False
        now = [queue for queue in queues_now(known_queues(beats)) if len(queue.name) <= LONGEST and not queue.unreadable]
        cursor.execute(
            _QUEUES,
            [
                column(queue.name for queue in now), column(queue.depth for queue in now),
                column(queue.unacknowledged for queue in now), column(queue.oldest_seconds for queue in now),
            ],
        )  # fmt: skip
    return True


def known_queues(beats: Iterable[WorkerBeat]) -> list[str]:
    """Return the names of all queues that somebody consumes, uses, paused or used within the hour.

    A queue that nobody consumes is known by the tasks that wait in it. One query of four small parts.
    """
    since = timezone.now().timestamp() // 60 * 60 - 3600
    used = (
        QueueSample.objects.filter(minute__gte=datetime.fromtimestamp(since, tz=UTC)).order_by().values_list("queue").distinct()
    )
    waiting = [
        Task.objects.filter(status=status).order_by("-created_at").values_list("queue")[:NEWEST]
        for status in (Status.PENDING, Status.QUEUED)
    ]
    paused = QueuePause.objects.order_by().values_list("queue")
    # Of a task whose queue nobody has told, it is empty.
    names = {row[0] for row in paused.union(used, *waiting)} - {""}
    names.update(name for beat in beats for name in (*beat.queues, *beat.withheld))
    return sorted(names | {celery_app().conf.task_default_queue})


def queues_now(names: list[str]) -> list[QueueNow]:
    """Look into the broker: one round trip for the lists, one pass over what workers hold, one query.

    Raises redis.RedisError or django.db.Error.
    """
    waiting = broker_queues.waiting(names)
    held = broker_queues.unacknowledged_by_queue()
    oldest = {id_: key_of(id_) for state in waiting.values() for id_ in state.oldest_ids}
    queued = dict(Task.objects.filter(id__in=oldest.values()).values_list("id", "queued_at")) if oldest else {}
    at_of = {id_: at for id_, key in oldest.items() if (at := queued.get(key)) is not None}
    return [
        QueueNow(
            name, waiting[name].depths, held.get(name, 0),
            min((at_of[id_] for id_ in waiting[name].oldest_ids if id_ in at_of), default=None), waiting[name].unreadable,
        )
        for name in names
    ]  # fmt: skip
