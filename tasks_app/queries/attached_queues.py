"""The queues of another application: what its workers consume, how many messages wait, and its open tasks.

Of an attached application Zenith does not see the broker: its workers tell how many messages wait. Of a watched one, its observer
measures that, also in queues that nobody consumes. Where nobody has told lately, it is unknown, and not zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from django.db import connection
from django.utils import timezone

from tasks_app.maintenance.depths import observed_queues, oldest_of
from tasks_app.models import Application
from tasks_app.queries.queue_rates import UNKNOWN_RATES, QueueRates, rates_of
from tasks_app.watching.queue_state import ObservedQueue
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
    """A queue of another application.

    Attributes:
        consumers: the names of its workers online that consume it.
        slots: tasks that these can run at once, across all their queues.
        by_status: how many of its tasks are in each status of COUNTED, as far as its processes told.
        observed: what was told of it lately; None if nobody has.
        oldest_at: when its oldest waiting message was sent, if that is known.
        rates: how fast it moves.
    """

    name: str
    consumers: list[str] = field(default_factory=list)
    slots: int = 0
    by_status: dict[Status, int] = field(default_factory=dict)
    observed: ObservedQueue | None = None
    oldest_at: datetime | None = None
    rates: QueueRates = UNKNOWN_RATES

    @property
    def waiting(self) -> int | None:
        """How many messages wait; None if nobody has told lately."""
        return self.observed.depth if self.observed else None

    @property
    def told_seconds(self) -> float | None:
        """How many seconds ago that was counted."""
        return self.observed.age if self.observed and self.observed.depth is not None else None

    @property
    def oldest_seconds(self) -> float | None:
        """How long the oldest message has waited; None if nothing waits, or if that is not known."""
        if self.oldest_at is None or self.waiting == 0:
            return None
        return max(0.0, (timezone.now() - self.oldest_at).total_seconds())

    @property
    def unreadable(self) -> bool:
        """Whether its key in Redis holds something else than a queue."""
        return self.observed is not None and self.observed.unreadable

    @property
    def seconds_to_drain(self) -> float | None:
        """Seconds until it is empty at the current rates; None if that is never, or unknown."""
        return self.rates.seconds_to_drain(self.waiting)

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
    """Return the queues whose name has the text `q`, in any case. Four queries at most. Raises redis.RedisError."""
    found = _counted(application)
    total = {status: sum(counts.get(status, 0) for counts in found.values()) for status in COUNTED}
    matching = [queue for queue in _with_workers(application, found) if q.casefold() in queue.name.casefold()]
    matching.sort(key=lambda queue: (-(queue.waiting or 0), -queue.open_tasks, queue.name))
    shown = _with_figures(application, matching[:MOST])
    return AttachedQueues(shown, len(matching), any(number >= READ_AT_MOST for number in total.values()))


def page_of(application: Application, q: str, after: str, limit: int) -> tuple[list[AttachedQueue], bool]:
    """Return the queues after this name, by name, and whether there are more; as `queues_of`, but of all that are known.

    Tasks whose queue nobody told are left out.
    """
    queues = sorted(_with_workers(application, _counted(application)), key=lambda queue: queue.name)
    rest = [queue for queue in queues if queue.name and queue.name > after and q.casefold() in queue.name.casefold()]
    return _with_figures(application, rest[:limit]), len(rest) > limit


def find(application: Application, name: str) -> AttachedQueue | None:
    """Return one queue, or None if it is not known. Four queries at most. Raises redis.RedisError."""
    found = [queue for queue in _with_workers(application, _counted(application)) if name and queue.name == name]
    return next(iter(_with_figures(application, found)), None)


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
    observed = observed_queues([application], {application.name: beats})[application.name]
    return [
        AttachedQueue(name, consumers.get(name, []), slots.get(name, 0), counts.get(name, {}), observed.get(name))
        for name in counts.keys() | consumers.keys() | observed.keys()
    ]


def _with_figures(application: Application, queues: Iterable[AttachedQueue]) -> list[AttachedQueue]:
    """Return these queues with their rates and ages. Three queries at most."""
    queues = list(queues)
    rates = rates_of([queue.name for queue in queues], application.pk) if queues else {}
    oldest = oldest_of(application, [queue.observed for queue in queues if queue.observed])
    return [replace(queue, rates=rates[queue.name], oldest_at=oldest.get(queue.name)) for queue in queues]
