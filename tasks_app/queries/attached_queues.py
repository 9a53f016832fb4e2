"""The queues of another application: what its workers consume, how many messages wait, and its open tasks.

Of an attached application Zenith does not see the broker: its workers tell how many messages wait. Of a watched one, its observer
measures that, also in queues that nobody consumes. Where nobody has told lately, it is unknown, and not zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from django.db import connection
from django.utils import timezone

from tasks_app.maintenance.depths import observed_queues, oldest_of
from tasks_app.models import Application, AttachedPause
from tasks_app.queries.queue_rates import UNKNOWN_RATES, QueueRates, rates_of
from tasks_app.watching.queue_state import ObservedQueue
from zenith_site.common.sql import statements
from zenith_worker.wire.heartbeat import read_all
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
    """A queue of another application.

    Attributes:
        consumers: the names of its workers online that consume it.
        slots: tasks that these can run at once, across all their queues.
        by_status: how many of its tasks are in each status of COUNTED, as far as its processes told.
        observed: what was told of it lately; None if nobody has.
        oldest_at: when its oldest waiting message was sent, if that is known: of an attached application, when the oldest task
            was sent that is known to wait.
        rates: how fast it moves.
        pause: set while the queue is paused.
        unpausable: those of its consumers that do not obey a pause: their `zenith_worker` is older than that.
    """

    name: str
    consumers: list[str] = field(default_factory=list)
    slots: int = 0
    by_status: dict[Status, int] = field(default_factory=dict)
    observed: ObservedQueue | None = None
    oldest_at: datetime | None = None
    rates: QueueRates = UNKNOWN_RATES
    pause: AttachedPause | None = None
    unpausable: list[str] = field(default_factory=list)

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
    """Return the queues whose name has the text `q`, in any case. Five queries at most. Raises redis.RedisError."""
    found, _ = counted = _counted(application)
    total = {status: sum(counts.get(status, 0) for counts in found.values()) for status in COUNTED}
    matching = [queue for queue in _with_workers(application, counted) if q.casefold() in queue.name.casefold()]
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
    """Return one queue, or None if it is not known. Five queries at most. Raises redis.RedisError."""
    found = [queue for queue in _with_workers(application, _counted(application)) if name and queue.name == name]
    return next(iter(_with_figures(application, found)), None)


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
            if PAUSE not in beat.queue_commands and not application.is_watched:
                unpausable.setdefault(queue, []).append(beat.name)
    withheld = {queue for beat in beats for queue in beat.withheld}
    observed = observed_queues([application], {application.name: beats})[application.name]
    pauses = {pause.queue: pause for pause in AttachedPause.objects.filter(application=application)}
    return [
        AttachedQueue(
            name, consumers.get(name, []), slots.get(name, 0), counts.get(name, {}), observed.get(name), oldest.get(name),
            pause=pauses.get(name), unpausable=unpausable.get(name, []),
        )
        for name in counts.keys() | consumers.keys() | observed.keys() | pauses.keys() | withheld
    ]  # fmt: skip


def _with_figures(application: Application, queues: Iterable[AttachedQueue]) -> list[AttachedQueue]:
    """Return these queues with their rates and ages. Three queries at most."""
    queues = list(queues)
    rates = rates_of([queue.name for queue in queues], application.pk) if queues else {}
    if not application.is_watched:
        return [replace(queue, rates=rates[queue.name]) for queue in queues]
    # An event of a sent task may be the only one that was heard of it: only what lies in the queue certainly waits.
    oldest = oldest_of(application, [queue.observed for queue in queues if queue.observed])
    return [replace(queue, rates=rates[queue.name], oldest_at=oldest.get(queue.name)) for queue in queues]
