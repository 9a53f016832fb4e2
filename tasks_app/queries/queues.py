"""Queues for pages and the API: what waits and for how long, how fast it moves, and which workers consume it.

Where the figures come from:

- depth, oldest and unacknowledged: the broker, now;
- held: PENDING tasks in PostgreSQL (of a paused queue, or about to be sent);
- rate out: attempts that ended in the last five whole minutes, from the rollups;
- rate in: the rate out plus the growth of the depth between the samples at both ends of these minutes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.db import connection
from pydantic import BaseModel, ConfigDict, Field

from tasks_app.maintenance.samples import QueueNow, known_queues, queues_now
from tasks_app.models import QueuePause
from tasks_app.queries.queue_rates import QueueRates, rates_of
from tasks_app.search.parameters import DEFAULT_LIMIT, MAX_LIMIT, FilterText
from zenith_site.common.sql import statements
from zenith_worker.wire import broker_queues
from zenith_worker.wire.broker_message import BrokerMessage
from zenith_worker.wire.heartbeat import WorkerBeat, read_all

#: Held tasks are counted up to this.
MAX_HELD: Final = 100_000
#: Messages shown of one list.
MAX_PEEKED: Final = 100


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue."""

    now: QueueNow
    held: int
    pause: QueuePause | None
    consumers: list[str]
    slots: int
    rates: QueueRates

    @property
    def name(self) -> str:
        """Its name."""
        return self.now.name

    @property
    def rate_out(self) -> float:
        """Attempts that ended, per minute."""
        return self.rates.served or 0.0

    @property
    def rate_in(self) -> float | None:
        """What is sent to it, per minute."""
        return self.rates.arriving

    @property
    def seconds_to_drain(self) -> float | None:
        """Seconds until the queue is empty at the current rates; None if that is never, or unknown."""
        return None if self.pause and self.now.depth else self.rates.seconds_to_drain(self.now.depth)


@dataclass(frozen=True, slots=True)
class QueuePage:
    """A page of queues, the filter for the next page, if there is one, and how many match in all."""

    queues: list[QueueView]
    following: "QueueFilter | None"
    matching: int


class QueueFilter(BaseModel):
    """Which queues to list. Owns the query and the links, for the page and the API alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: FilterText = Field(default="", description="Where to continue: taken from the `Link` of a page.")
    q: FilterText = Field(default="", description="Only queues with this text in their name, in any case.")

    def all(self) -> list[QueueView]:
        """Return every queue that matches, by name; eight queries at most. Raises redis.RedisError."""
        beats = [beat for beat in read_all() if beat.online]
        return _views(queues_now(self._matching(beats)), beats)

    def page(self) -> QueuePage:
        """Return the queues by name; eight queries at most. Raises redis.RedisError."""
        beats = [beat for beat in read_all() if beat.online]
        names = self._matching(beats)
        rest = [name for name in names if name > self.cursor] if self.cursor else names
        following = self.model_copy(update={"cursor": rest[self.limit - 1]}) if len(rest) > self.limit else None
        return QueuePage(_views(queues_now(rest[: self.limit]), beats), following, len(names))

    def longest(self, number: int) -> QueuePage:
        """Return a page by its number, from 1, with the longest queues first. Raises redis.RedisError.

        The length of every queue is read in one round trip; the other figures only for the queues on the page.
        """
        beats = [beat for beat in read_all() if beat.online]
        ranked = sorted(queues_now(self._matching(beats)), key=lambda now: (-now.depth - now.unacknowledged, now.name))
        start = (number - 1) * self.limit
        following = self if len(ranked) > start + self.limit else None
        return QueuePage(_views(ranked[start : start + self.limit], beats), following, len(ranked))

    def query_string(self) -> str:
        """Return the filter as a URL's query."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _matching(self, beats: Sequence[WorkerBeat]) -> list[str]:
        return [name for name in known_queues(beats) if self.q.casefold() in name.casefold()]


def queues() -> list[QueueView]:
    """Return every queue that is known, by name; eight queries at most. Raises redis.RedisError."""
    return QueueFilter().all()


def find(name: str) -> QueueView | None:
    """Return one queue, or None if it is not known. Raises redis.RedisError."""
    beats = [beat for beat in read_all() if beat.online]
    # A queue that a worker consumes needs no look into the tables.
    exists = any(name in beat.queues for beat in beats) or name in known_queues(beats)
    return _views(queues_now([name]), beats)[0] if exists else None


def view(name: str) -> QueueView:
    """Return one queue, even if it is not known. Raises redis.RedisError."""
    return _views(queues_now([name]), [beat for beat in read_all() if beat.online])[0]


def is_known(name: str) -> bool:
    """Return whether a queue is known. Raises redis.RedisError."""
    return name in known_queues(beat for beat in read_all() if beat.online)


def peek(name: str, limit: int) -> list[BrokerMessage]:
    """Return the oldest messages of each priority, up to `limit` each. Raises redis.RedisError."""
    return broker_queues.peek(name, min(limit, MAX_PEEKED))


def peek_unacknowledged(name: str, limit: int) -> list[tuple[BrokerMessage, str | None]]:
    """Return up to `limit` messages that workers hold, with the worker's name if it is known."""
    names = {beat.instance: beat.name for beat in read_all()}
    held = broker_queues.peek_unacknowledged(name, min(limit, MAX_PEEKED))
    return [(message, names.get(message.holder or "")) for message in held]


_HELD: Final = statements(__file__)["held_in_queues"]


def _views(current: Sequence[QueueNow], beats: Sequence[WorkerBeat]) -> list[QueueView]:
    names = [now.name for now in current]
    consumers: dict[str, list[WorkerBeat]] = defaultdict(list)
    for beat in beats:
        for queue in beat.queues:
            consumers[queue].append(beat)
    pauses = {pause.queue: pause for pause in QueuePause.objects.filter(queue__in=names)}
    held = _held(names)
    rates = rates_of(names)
    return [
        QueueView(
            now, held.get(now.name, 0), pauses.get(now.name), [beat.name for beat in consumers[now.name]],
            sum(beat.slots for beat in consumers[now.name]), rates[now.name],
        )
        for now in current
    ]  # fmt: skip


def _held(names: list[str]) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [MAX_HELD, names])
        return dict(cursor.fetchall())
