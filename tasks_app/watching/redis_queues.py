"""Reads the queues of a watched application at its Redis, as kombu keeps them (kombu/transport/redis.py). Nothing is written.

- A queue is one list for each priority step. Which steps an application has is not known, so the lists of all ten priorities are
  counted; those that it does not use are empty.
- `_kombu.binding.EXCHANGE` is a set of bindings, each a routing key, a pattern and a queue. They tell which queues there are, and
  the application's separator (`sep`), if it has another one than kombu's.
- Messages are read at the end that workers take from, a few at a time, so that their sizes are known before more are read.

Key names carry the application's `global_keyprefix`. Whatever is not kombu's is passed over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from kombu.connection import Connection

from zenith_worker.wire.broker_message import BrokerMessage, describe
from zenith_worker.wire.keys import PRIORITY_SEPARATOR
from zenith_worker.wire.messages import envelope, task_id
from zenith_worker.wire.queue_names import LONGEST, may_hold_tasks

#: The priorities of Celery; the list of the first is the queue itself.
PRIORITIES: Final = range(10)
#: kombu's prefix of bindings, and Celery's default exchange.
BINDINGS: Final = "_kombu.binding."
_DEFAULT_EXCHANGE: Final = "celery"
#: Exchanges that are remembered besides those of known queues, bindings that are read of one, and keys that a round passes while
#: it looks for exchanges.
EXCHANGES_KEPT: Final = 300
BINDINGS_READ: Final = 500
SCANNED: Final = 20_000
_SCAN_PAGE: Final = 1000
#: Queues whose lists are counted in one round trip.
_AT_ONCE: Final = 50
#: Bindings that are looked at for a separator.
_SAMPLE: Final = 200
#: Bytes of messages after which no more are read: in one round, and for one look.
HEADS_READ: Final = 8 * 2**20
BYTES_SEEN: Final = 4 * 2**20
#: A binding with another separator than kombu's, whose queue has the name of its routing key, as Celery's have.
_OWN_SEPARATOR: Final = re.compile(r"(?P<queue>.+?)(?P<separator>\W{1,8}?)(?P=separator)(?P=queue)", re.DOTALL)


@dataclass(slots=True)
class Store:
    """A Redis that holds queues, and how the application names its keys."""

    redis: redis.Redis
    prefix: str = ""
    separator: str = PRIORITY_SEPARATOR

    def list_of(self, queue: str, priority: int) -> str:
        """Return the list that holds a queue's messages of a priority step."""
        return f"{self.prefix}{queue}{self.separator}{priority}" if priority else self.prefix + queue


@contextmanager
def store_of(connection: Connection) -> Iterator[Store]:
    """Yield the Redis of a connection of kombu's, in whatever way that reaches it. Raises what kombu raises."""
    channel: Any = connection.default_channel
    # kombu's own client adds the prefix to some commands only.
    yield Store(redis.Redis(connection_pool=channel.pool), channel.global_keyprefix or "", channel.sep)


@dataclass(slots=True)
class Bindings:
    """Finds the queues of an application by their bindings, a part of the keys in each round: there may be millions."""

    _exchanges: set[str] = field(default_factory=set)
    _cursor: int = 0
    _may_scan: bool = True

    def queues(self, store: Store, known: Iterable[str]) -> set[str]:
        """Return the queues that are bound, and set the store's separator as they show it. Raises redis.RedisError.

        `known`: queues that are known otherwise; Celery gives each an exchange of its name.
        """
        self._scan(store)
        exchanges = dict.fromkeys((_DEFAULT_EXCHANGE, *known, *self._exchanges))
        with store.redis.pipeline(transaction=False) as pipe:
            for exchange in exchanges:
                pipe.srandmember(f"{store.prefix}{BINDINGS}{exchange}", BINDINGS_READ)
            answers = pipe.execute(raise_on_error=False)
        members = list(_texts(member for answer in answers if isinstance(answer, list) for member in answer))
        store.separator = _separator(members) or store.separator
        return {queue for member in members if may_hold_tasks(queue := member.rpartition(store.separator)[2]) and queue != member}

    def _scan(self, store: Store) -> None:
        pattern = f"{_escaped(store.prefix)}{BINDINGS}*"
        start = len(store.prefix) + len(BINDINGS)
        for _ in range(SCANNED // _SCAN_PAGE if self._may_scan else 0):
            try:
                self._cursor, keys = store.redis.scan(self._cursor, match=pattern, count=_SCAN_PAGE)
            except redis.exceptions.NoPermissionError:
                # The exchanges of known queues are read all the same.
                self._may_scan = False
                return
            names = (key[start:] for key in _texts(keys))
            self._exchanges.update(name for name in names if len(self._exchanges) < EXCHANGES_KEPT and _is_exchange(name))
            if not self._cursor:
                return


@dataclass(frozen=True, slots=True)
class Lists:
    """What waits in a queue: pairs of a priority step and a number, and the ids of the tasks that are next in each.

    `unreadable`: one of its keys holds something else than a list.
    """

    depths: tuple[tuple[int, int], ...] = ()
    next_ids: tuple[str, ...] = ()
    unreadable: bool = False


def measure(store: Store, queues: Sequence[str], until: float) -> dict[str, Lists]:
    """Count what waits in these queues, in as many as can be until a monotonic time. Raises redis.RedisError."""
    answered: dict[str, Lists | redis.RedisError] = {}
    for start in range(0, len(queues), _AT_ONCE):
        if start and time.monotonic() >= until:
            break
        answered |= _lengths(store, queues[start : start + _AT_ONCE])
    found = {name: lists for name, lists in answered.items() if isinstance(lists, Lists)}
    if answered and not found:
        # The user may read some of the queues at least, or the broker's owner must hear of it.
        raise next(error for error in answered.values() if isinstance(error, redis.RedisError))
    heads = [(name, store.list_of(name, step)) for name, lists in found.items() for step, _ in lists.depths]
    ids: dict[str, list[str]] = {}
    for (name, _), body in zip(heads, _read_each(store, [key for _, key in heads], until), strict=False):
        if body is not None and (id_ := task_id(body)):
            ids.setdefault(name, []).append(id_)
    return {name: Lists(lists.depths, tuple(ids.get(name, ())), lists.unreadable) for name, lists in found.items()}


def peek(store: Store, queue: str, limit: int) -> list[BrokerMessage]:
    """Return the next messages of a queue, `limit` of each priority, fewer if they are large. Raises redis.RedisError."""
    lists = _lengths(store, [queue])[queue]
    if not isinstance(lists, Lists):
        raise lists
    found: list[BrokerMessage] = []
    room = BYTES_SEEN
    for step, depth in lists.depths:
        bodies = _read_list(store, store.list_of(queue, step), min(limit, depth), room)
        room -= sum(map(len, bodies))
        found += [describe(envelope(body), step, position=place) for place, body in enumerate(bodies, start=1)]
        if room <= 0:
            break
    return found


def _lengths(store: Store, queues: Sequence[str]) -> dict[str, Lists | redis.RedisError]:
    """Count what waits in these queues; an error stands for one that the user may not read. Raises redis.RedisError."""
    with store.redis.pipeline(transaction=False) as pipe:
        for queue in queues:
            for priority in PRIORITIES:
                pipe.llen(store.list_of(queue, priority))
        answers = iter(pipe.execute(raise_on_error=False))
    found: dict[str, Lists | redis.RedisError] = {}
    for queue in queues:
        try:
            found[queue] = _lists([next(answers) for _ in PRIORITIES])
        except redis.exceptions.NoPermissionError as error:
            found[queue] = error
    return found


def _lists(answers: Sequence[Any]) -> Lists:
    wrong = [answer for answer in answers if isinstance(answer, Exception)]
    for error in wrong:
        if not str(error).startswith("WRONGTYPE"):
            raise error
    lengths = zip(PRIORITIES, answers, strict=True)
    return Lists(tuple((step, int(length)) for step, length in lengths if type(length) is int and length), unreadable=bool(wrong))


def _read_each(store: Store, keys: Sequence[str], until: float) -> Iterator[bytes | None]:
    """Yield the next message of each of these lists, until they are too many bytes together or it is too late."""
    room, largest, position = HEADS_READ, HEADS_READ, 0
    while position < len(keys) and room > 0 and time.monotonic() < until:
        some = keys[position : position + max(1, room // largest)]
        with store.redis.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.lindex(key, -1)
            answers = [answer if isinstance(answer, bytes) else None for answer in pipe.execute(raise_on_error=False)]
        yield from answers
        sizes = [len(answer or b"") for answer in answers]
        position, room, largest = position + len(some), room - sum(sizes), max(1024, *sizes)


def _read_list(store: Store, key: str, limit: int, room: int) -> list[bytes]:
    """Return the next messages of a list, the next one first: twice as many at a time, as long as there is room for them."""
    found: list[bytes] = []
    number = 1
    while len(found) < limit and room > 0:
        answer: Any = store.redis.lrange(key, -len(found) - number, -len(found) - 1)
        page = [body for body in reversed(answer) if isinstance(body, bytes)]
        if not page:
            break
        found += page
        room -= sum(map(len, page))
        number = max(1, min(2 * number, limit - len(found), room // max(map(len, page))))
    return found[:limit]


def _separator(members: Sequence[str]) -> str | None:
    """Return what an application puts between the parts of a binding, and between a queue and a priority; None if unknown."""
    if any(PRIORITY_SEPARATOR in member for member in members):
        return PRIORITY_SEPARATOR
    matches = (_OWN_SEPARATOR.fullmatch(member) for member in members[:_SAMPLE] if len(member) <= 3 * LONGEST)
    return next((match["separator"] for match in matches if match), None)


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield those of some names that are text: kombu writes no others."""
    for value in values:
        with suppress(UnicodeDecodeError):
            yield value.decode()


def _is_exchange(name: str) -> bool:
    return may_hold_tasks(name) and not name.startswith("celeryev")


def _escaped(prefix: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", prefix)
