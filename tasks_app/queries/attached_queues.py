"""The queues of an attached application: what its workers consume, and its open tasks in them. Zenith does not see its broker."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from django.db import connection

from tasks_app.models import Application
from zenith_site.common.sql import statements
from zenith_worker.wire.heartbeat import read_all
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
    """

    name: str
    consumers: list[str] = field(default_factory=list)
    slots: int = 0
    by_status: dict[Status, int] = field(default_factory=dict)

    @property
    def counts(self) -> list[tuple[Status, int]]:
        """Its tasks in each of COUNTED."""
        return [(status, self.by_status.get(status, 0)) for status in COUNTED]


@dataclass(frozen=True, slots=True)
class AttachedQueues:
    """The queues of an application, those with the most open tasks first.

    `matching` is the number of all that match; `is_capped` says whether a status may have more tasks than were read.
    """

    queues: list[AttachedQueue]
    matching: int
    is_capped: bool


def queues_of(application: Application, q: str = "") -> AttachedQueues:
    """Return the queues whose name has the text `q`, in any case. One query. Raises redis.RedisError."""
    found = _counted(application)
    total = {status: sum(counts.get(status, 0) for counts in found.values()) for status in COUNTED}
    queues = [AttachedQueue(name, by_status=counts) for name, counts in found.items()]
    queues = _with_consumers(application, queues)
    matching = [queue for queue in queues if q.casefold() in queue.name.casefold()]
    matching.sort(key=lambda queue: (-sum(queue.by_status.values()), queue.name))
    return AttachedQueues(matching[:MOST], len(matching), any(number >= READ_AT_MOST for number in total.values()))


def _counted(application: Application) -> dict[str, dict[Status, int]]:
    """Return the open tasks by queue and status; the queue of some is not known."""
    with connection.cursor() as cursor:
        statuses = [status.value for status in COUNTED]
        cursor.execute(_OPEN_BY_QUEUE, {"application": application.pk, "statuses": statuses, "most": READ_AT_MOST})
        found: dict[str, dict[Status, int]] = {}
        for queue, status, number in cursor.fetchall():
            found.setdefault(queue, {})[Status(status)] = number
    return found


def _with_consumers(application: Application, queues: Iterable[AttachedQueue]) -> list[AttachedQueue]:
    consumers: dict[str, list[str]] = {}
    slots: dict[str, int] = {}
    for beat in read_all(application.key_name):
        for queue in beat.queues if beat.online else ():
            consumers.setdefault(queue, []).append(beat.name)
            slots[queue] = slots.get(queue, 0) + beat.slots
    counts = {queue.name: queue.by_status for queue in queues}
    names = counts.keys() | consumers.keys()
    return [AttachedQueue(name, consumers.get(name, []), slots.get(name, 0), counts.get(name, {})) for name in names]
