"""Sample the workers and queues a few times a minute: load, memory and depth over time.

Any number of engines may sample. A sample is one transaction under an advisory lock, and is skipped if another engine has just
taken one, so the number of engines does not distort means.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from tasks_app.maintenance import compaction, pauses
from tasks_app.maintenance.depths import observed_queues, oldest_of
from tasks_app.models import Application, QueuePause, QueueSample, Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.recording.arrays import column
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.application import celery_app
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat
from zenith_site.common.sql import statements
from zenith_worker.wire import broker_queues
from zenith_worker.wire.heartbeat import WorkerBeat, read_all, read_several
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.queue_names import LONGEST
from zenith_worker.wire.states import Status

#: Seconds between two samples.
LOOK_EVERY: Final = 10.0
#: The newest waiting tasks whose queues are sampled, even if those are not known otherwise.
NEWEST: Final = 1000
#: Queues of other applications that are sampled at most, each application with the same share; and workers.
OTHERS_SAMPLED: Final = 2000
#: The greatest number that a sample holds.
_GREATEST: Final = 2**31 - 1

_SQL: Final = statements(__file__)
_LOAD: Final = _SQL["sample_load"]
_QUEUES: Final = _SQL["sample_queues"]
_WORKERS: Final = _SQL["sample_workers"]
#: The longest name of a worker that a sample holds.
_LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class QueueNow:
    """A queue's state on the broker now.

    `oldest_at` is when the task of the oldest waiting message was sent to the broker; None if no message waits or PostgreSQL
    does not know its task. `unreadable`: one of the queue's keys in Redis is not a list, so its messages are unknown.
    """

    name: str
    depths: tuple[int, ...]
    unacknowledged: int
    oldest_at: datetime | None
    unreadable: bool = False

    @property
    def depth(self) -> int:
        """Waiting messages, of all priorities."""
        return sum(self.depths)

    @property
    def oldest_seconds(self) -> float | None:
        """How long the oldest message has waited."""
        return _seconds_since(self.oldest_at)


def run(stop: threading.Event) -> None:
    """Take samples and compact rollups until `stop` is set."""
    repeat(stop, "samples", _once, every=LOOK_EVERY)


def _once() -> bool:
    is_taken = False
    with isolate_faults("samples", "load and queues"):
        is_taken = take()
    if is_taken:
        with isolate_faults("samples", "workers"):
            take_workers()
        with isolate_faults("samples", "queues of other applications"):
            take_others()
    return compaction.compact()


def take() -> bool:
    """Take a sample; return whether it was stored. Raises redis.RedisError or django.db.Error."""
    pauses.copy()
    pauses.copy_attached()
    beats = [beat for beat in read_all() if beat.online]
    load = [len(beats), sum(beat.slots for beat in beats), sum(beat.busy for beat in beats)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOAD, [*load, AdvisoryLock.SAMPLES, 0.8 * LOOK_EVERY])
        if not cursor.rowcount:
            return False
        sampled = [queue for queue in queues_now(known_queues(beats)) if len(queue.name) <= LONGEST and not queue.unreadable]
        cursor.execute(
            _QUEUES,
            [
                NATIVE_ID, column(queue.name for queue in sampled), column(queue.depth for queue in sampled),
                column(queue.unacknowledged for queue in sampled), column(queue.oldest_seconds for queue in sampled),
            ],
        )  # fmt: skip
    return True


def take_workers() -> None:
    """Store which workers of all applications are online, and their memory. Raises redis.RedisError or django.db.Error.

    Of other applications at most OTHERS_SAMPLED in all, each with the same share.
    """
    rows = list(Application.objects.order_by("id"))
    most = max(1, OTHERS_SAMPLED // max(1, len(rows) - 1))
    for row, beats in zip(rows, read_several(row.key_name for row in rows).values(), strict=True):
        online = [beat for beat in beats if beat.online and len(beat.name) <= _LONGEST_NAME]
        sampled = sorted(online if row.is_native else online[:most], key=lambda beat: beat.name)
        if sampled:
            with connection.cursor() as cursor:
                names, memory = column(beat.name for beat in sampled), column(beat.memory_bytes for beat in sampled)
                cursor.execute(_WORKERS, [row.pk, names, memory])


def take_others() -> None:
    """Take a sample of the queues of other applications, of each the longest. Raises redis.RedisError or django.db.Error."""
    rows = list(Application.objects.exclude(id=NATIVE_ID).order_by("id"))
    if not rows:
        return
    beats = read_several(row.name for row in rows)
    most = max(1, OTHERS_SAMPLED // len(rows))
    for row, queues in zip(rows, observed_queues(rows, beats).values(), strict=True):
        known = [(queue.depth, queue) for queue in queues.values() if queue.depth is not None and len(queue.name) <= LONGEST]
        sampled = sorted(known, key=lambda pair: (-pair[0], pair[1].name))[:most]
        oldest = oldest_of(row, [queue for _, queue in sampled])
        with connection.cursor() as cursor:
            cursor.execute(
                _QUEUES,
                [
                    row.pk, column(queue.name for _, queue in sampled), column(min(depth, _GREATEST) for depth, _ in sampled),
                    column(0 for _ in sampled), column(_seconds_since(oldest.get(queue.name)) for _, queue in sampled),
                ],
            )  # fmt: skip


def _seconds_since(moment: datetime | None) -> float | None:
    return None if moment is None else max(0.0, (timezone.now() - moment).total_seconds())


def known_queues(beats: Iterable[WorkerBeat]) -> list[str]:
    """Return the names of all queues that are consumed, paused, have waiting tasks, or were in use within the last hour.

    One query of four small parts.
    """
    since = timezone.now().timestamp() // 60 * 60 - 3600
    recently_used = (
        QueueSample.objects.filter(minute__gte=compaction.utc_datetime(since), application=NATIVE_ID)
        .order_by()
        .values_list("queue")
        .distinct()
    )
    # Limited before other applications' tasks are left out: one of them may have a million that wait.
    newest = [
        Task.objects.filter(status=status).order_by("-created_at").values("id")[:NEWEST]
        for status in (Status.PENDING, Status.QUEUED)
    ]
    waiting = [Task.objects.filter(id__in=ids, application=NATIVE_ID).order_by().values_list("queue") for ids in newest]
    paused = QueuePause.objects.order_by().values_list("queue")
    # The queue's name is empty if no report has told it.
    names = {row[0] for row in paused.union(recently_used, *waiting)} - {""}
    names.update(name for beat in beats for name in (*beat.queues, *beat.withheld))
    return sorted(names | {celery_app().conf.task_default_queue})


def queues_now(names: list[str]) -> list[QueueNow]:
    """Return the state of queues on the broker: one round trip for the lists, one pass over unacknowledged messages, one query.

    Raises redis.RedisError or django.db.Error.
    """
    waiting = broker_queues.waiting(names)
    held = broker_queues.unacknowledged_by_queue()
    key_by_id = {id_: key_of(id_) for state in waiting.values() for id_ in state.oldest_ids}
    queued_at = dict(Task.objects.filter(id__in=key_by_id.values()).values_list("id", "queued_at")) if key_by_id else {}
    at_of = {id_: at for id_, key in key_by_id.items() if (at := queued_at.get(key)) is not None}
    return [
        QueueNow(
            name, waiting[name].depths, held.get(name, 0),
            min((at_of[id_] for id_ in waiting[name].oldest_ids if id_ in at_of), default=None), waiting[name].unreadable,
        )
        for name in names
    ]  # fmt: skip
