"""The queues of an attached application: what its workers consume, how many messages they say are waiting, and its open tasks.

Zenith does not see its broker. Where no worker online has told how many messages wait, that is unknown, and not zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.db import connection

from tasks_app.models import Application
from zenith_site.common.sql import statements
from zenith_worker.wire.heartbeat import WorkerBeat, read_all
from zenith_worker.wire.states import Status

#: Tasks of a status that are read at most, and queues that are shown at most; an application may have any number.
READ_AT_MOST: Final = 10_000
MOST: Final = 200
#: The statuses of open tasks, as the page has columns.
COUNTED: Final = (Status.PENDING, Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY)

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
    """

    name: str
    consumers: list[str] = field(default_factory=list)
    slots: int = 0
    by_status: dict[Status, int] = field(default_factory=dict)
    waiting: int | None = None
    told_seconds: float | None = None

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
    """Return the queues whose name has the text `q`, in any case. One query. Raises redis.RedisError."""
    found = _counted(application)
    total = {status: sum(counts.get(status, 0) for counts in found.values()) for status in COUNTED}
    matching = [queue for queue in _with_workers(application, found) if q.casefold() in queue.name.casefold()]
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
    """Return one queue, or None if it is not known. One query. Raises redis.RedisError."""
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


def _counted(application: Application) -> dict[str, dict[Status, int]]:
    """Return the open tasks by queue and status; the queue of some is not known."""
    with connection.cursor() as cursor:
        statuses = [status.value for status in COUNTED]
        cursor.execute(_OPEN_BY_QUEUE, {"application": application.pk, "statuses": statuses, "most": READ_AT_MOST})
        found: dict[str, dict[Status, int]] = {}
        for queue, status, number in cursor.fetchall():
            found.setdefault(queue, {})[Status(status)] = number
    return found


def _with_workers(application: Application, counts: Mapping[str, dict[Status, int]]) -> list[AttachedQueue]:
    consumers: dict[str, list[str]] = {}
    slots: dict[str, int] = {}
    beats = [beat for beat in read_all(application.key_name) if beat.online]
    for beat in beats:
        for queue in beat.queues:
            consumers.setdefault(queue, []).append(beat.name)
            slots[queue] = slots.get(queue, 0) + beat.slots
    depths = depths_of(beats)
    return [
        AttachedQueue(
            name, consumers.get(name, []), slots.get(name, 0), counts.get(name, {}), *depths.get(name, (None, None))
        )
        for name in counts.keys() | consumers.keys() | depths.keys()
    ]  # fmt: skip
