"""The queues of an attached application: what its workers consume, how many messages they say are waiting, and its open tasks.

Zenith does not see its broker. Where no worker online has told how many messages wait, that is unknown, and not zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import connection
from django.utils import timezone

from tasks_app.models import Application, AttachedPause
from zenith_site.common.sql import statements
from zenith_worker.wire.heartbeat import WorkerBeat, read_all
from zenith_worker.wire.purges import PAUSE, PURGE
from zenith_worker.wire.states import Status

#: Tasks of a status that are read at most, and queues that are shown at most; an application may have any number.
READ_AT_MOST: Final = 10_000
MOST: Final = 200
#: The statuses of open tasks, as the page has columns.
COUNTED: Final = (Status.PENDING, Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY)

#: Of a queue whose messages no worker online has counted.
_UNTOLD: Final = (None, None)
_OPEN_BY_QUEUE: Final = statements(__file__)["open_by_queue"]


@dataclass(frozen=True, slots=True)
class AttachedQueue:
    """A queue of an attached application.

    Attributes:
        consumers: the names of its workers online that consume it.
        slots: tasks that these can run at once, across all their queues.
        by_status: how many of its tasks are in each status of COUNTED, as far as its processes told.
        waiting: how many messages wait, as a worker told last; None if none of those online has told.
        told_seconds: how long ago that was counted.
        oldest_at: when the oldest task that is known to wait was sent, if its sender reports to Zenith; None if none is known.
        pause: set while the queue is paused.
        unpausable: those of its consumers that do not obey a pause: their `zenith_worker` is older than that.
    """

    name: str
    consumers: list[str] = field(default_factory=list)
    slots: int = 0
    by_status: dict[Status, int] = field(default_factory=dict)
    waiting: int | None = None
    told_seconds: float | None = None
    oldest_at: datetime | None = None
    pause: AttachedPause | None = None
    unpausable: list[str] = field(default_factory=list)

    @property
    def oldest_seconds(self) -> float | None:
        """How long the oldest task that is known has waited; None if nothing waits, or none is known."""
        if self.oldest_at is None or self.waiting == 0:
            return None
        return max(0.0, (timezone.now() - self.oldest_at).total_seconds())

    @property
    def open_tasks(self) -> int:
        """Its tasks in all of COUNTED."""
        return sum(self.by_status.values())

    @property
    def counts(self) -> list[tuple[Status, int]]:
        """Its tasks in each of COUNTED."""
        return [(status, self.by_status.get(status, 0)) for status in COUNTED]


@dataclass(frozen=True, slots=True)
class AttachedQueues:
    """The queues of an application, the longest first: those with the most waiting messages, then with the most open tasks.

    `matching` is the number of all that match; `is_capped` says whether a status may have more tasks than were read.
    """

    queues: list[AttachedQueue]
    matching: int
    is_capped: bool


def queues_of(application: Application, q: str = "") -> AttachedQueues:
    """Return the queues whose name has the text `q`, in any case. Two queries. Raises redis.RedisError."""
    found, _ = counted = _counted(application)
    total = {status: sum(counts.get(status, 0) for counts in found.values()) for status in COUNTED}
    matching = [queue for queue in _with_workers(application, counted) if q.casefold() in queue.name.casefold()]
    matching.sort(key=lambda queue: (-(queue.waiting or 0), -queue.open_tasks, queue.name))
    return AttachedQueues(matching[:MOST], len(matching), any(number >= READ_AT_MOST for number in total.values()))


def page_of(application: Application, q: str, after: str, limit: int) -> tuple[list[AttachedQueue], bool]:
    """Return the queues after this name, by name, and whether there are more; as `queues_of`, but of all that are known.

    Tasks whose queue nobody told are left out.
    """
    queues = sorted(_with_workers(application, _counted(application)), key=lambda queue: queue.name)
    rest = [queue for queue in queues if queue.name and queue.name > after and q.casefold() in queue.name.casefold()]
    return rest[:limit], len(rest) > limit


def find(application: Application, name: str) -> AttachedQueue | None:
    """Return one queue, or None if it is not known. Two queries. Raises redis.RedisError."""
    return next((queue for queue in _with_workers(application, _counted(application)) if name and queue.name == name), None)


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


def can_purge(application: Application) -> bool:
    """Whether a worker is online that takes commands and can purge queues. Raises redis.RedisError."""
    beats = read_all(application.key_name)
    return any(beat.online and beat.catalogue and PURGE in beat.queue_commands for beat in beats)


#: Open tasks by queue and status, and when the oldest QUEUED one of each queue was sent; the queue of some is not known.
_Counted = tuple[dict[str, dict[Status, int]], dict[str, datetime]]


def _counted(application: Application) -> _Counted:
    with connection.cursor() as cursor:
        statuses = [status.value for status in COUNTED]
        cursor.execute(_OPEN_BY_QUEUE, {"application": application.pk, "statuses": statuses, "most": READ_AT_MOST})
        found: dict[str, dict[Status, int]] = {}
        oldest: dict[str, datetime] = {}
        for queue, status, number, queued_at in cursor.fetchall():
            found.setdefault(queue, {})[Status(status)] = number
            if status == Status.QUEUED and queued_at is not None:
                oldest[queue] = queued_at
    return found, oldest


def _with_workers(application: Application, counted: _Counted) -> list[AttachedQueue]:
    counts, oldest = counted
    consumers: dict[str, list[str]] = {}
    slots: dict[str, int] = {}
    unpausable: dict[str, list[str]] = {}
    beats = [beat for beat in read_all(application.key_name) if beat.online]
    for beat in beats:
        for queue in beat.queues:
            consumers.setdefault(queue, []).append(beat.name)
            slots[queue] = slots.get(queue, 0) + beat.slots
            if PAUSE not in beat.queue_commands:
                unpausable.setdefault(queue, []).append(beat.name)
    withheld = {queue for beat in beats for queue in beat.withheld}
    depths = depths_of(beats)
    pauses = {pause.queue: pause for pause in AttachedPause.objects.filter(application=application)}
    return [
        AttachedQueue(
            name, consumers.get(name, []), slots.get(name, 0), counts.get(name, {}),
            waiting=depths.get(name, _UNTOLD)[0], told_seconds=depths.get(name, _UNTOLD)[1],
            oldest_at=oldest.get(name), pause=pauses.get(name), unpausable=unpausable.get(name, []),
        )
        for name in counts.keys() | consumers.keys() | depths.keys() | pauses.keys() | withheld
    ]  # fmt: skip
