"""The one Redis Stream that carries every step of every task from the workers to the recorders.

1. A step is reported by appending an entry (`append`): one field with a JSON list of events.
2. Recorders read entries through a consumer group (`read`), apply them to PostgreSQL, and only then remove them (`done`): at
   least once, never at most once.
3. Another recorder claims what a dead one had read but not removed (`claim`).
4. An entry that cannot be read or applied is moved to a second stream with the reason (`set_aside`), so that it blocks nothing
   and is not lost.

Only this module uses these keys, and claims.py, which reports an outcome and releases its claim in one step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import redis

from zenith_worker.wire import recorder_stats
from zenith_worker.wire.client import client, command, load, script, text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.events import Event, encode
from zenith_worker.wire.keys import EVENTS, NATIVE, RECORDER, RECORDER_STATS, UNREADABLE, application_keys

GROUP: Final = "recorder"
#: Seconds for which a recorder counts as at work: longer than the largest batch takes.
RECORDER_NOTED: Final = 60
#: Stands for any place.
ANYWHERE: Final = "*"
UNREADABLE_KEPT: Final = 10_000

_DONE: Final = load("batch_done")
_BOUNDS: Final = tuple(json.dumps(bounds) for bounds in (recorder_stats.SIZES, recorder_stats.DELAYS_MS))


def append(events: Sequence[Event], application: str = NATIVE) -> None:
    """Append events to an application's stream as one entry, in one round trip. Raises redis.RedisError."""
    if events:
        command("XADD", application_keys(application).events, "*", "e", encode(events))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as a recorder reads it."""

    id: str
    raw: bytes | None


def ensure_group() -> None:
    """Create the stream and its consumer group if they are missing."""
    try:
        client().xgroup_create(EVENTS, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def read(consumer: str, *, count: int, block: float) -> list[Entry]:
    """Return up to `count` new entries, waiting at most `block` seconds for the first."""
    answer = client().xreadgroup(GROUP, consumer, {EVENTS: ">"}, count=count, block=max(1, int(block * 1000)))
    return [] if not answer else _entries(next(iter(_streams(answer))))


def claim(consumer: str, *, idle: float, count: int) -> list[Entry]:
    """Take over entries that another recorder has held for more than `idle` seconds."""
    answer = client().xautoclaim(EVENTS, GROUP, consumer, int(idle * 1000), "0-0", count=count)
    return _entries(answer[1])


def done(entries: Sequence[Entry]) -> None:
    """Acknowledge, remove and count a batch of entries whose events are committed, the oldest first."""
    if entries:
        script(_DONE, EVENTS, GROUP, RECORDER_STATS, *_BOUNDS, *(entry.id for entry in entries))


def set_aside(entry: Entry, reason: str) -> None:
    """Move an entry that cannot be read or applied to the second stream, with the reason."""
    with client().pipeline(transaction=True) as pipe:
        pipe.xadd(
            UNREADABLE,
            {"e": entry.raw or b"", "id": entry.id, "reason": reason[:2000], "at": time.time()},
            maxlen=UNREADABLE_KEPT,
            approximate=True,
        )
        pipe.xack(EVENTS, GROUP, entry.id)
        pipe.xdel(EVENTS, entry.id)
        pipe.execute()


def length() -> int:
    """Return how many entries are waiting or being applied."""
    return int(client().xlen(EVENTS))


def lag() -> float:
    """Return the seconds that the oldest entry has waited, by Redis' clock. Raises redis.RedisError."""
    oldest = client().xrange(EVENTS, count=1)
    return _age(oldest[0][0]) if oldest else 0.0


def unreadable_count() -> int:
    """Return how many entries were set aside."""
    return int(client().xlen(UNREADABLE))


class SetAside(NamedTuple):
    """An entry that was set aside: seconds since then by Redis' clock, and why."""

    age: float
    reason: str


def newest_unreadable() -> SetAside | None:
    """Return the entry that was set aside last, if there is one. Raises redis.RedisError."""
    newest = client().xrevrange(UNREADABLE, count=1)
    if not newest:
        return None
    id_, members = newest[0]
    reason: Any = (members or {}).get(b"reason", b"")
    return SetAside(_age(id_), text(reason))


def _age(entry_id: bytes | str | None) -> float:
    seconds, micros = client().time()
    return max(0.0, seconds + micros / 1e6 - int(text(entry_id or "0").partition("-")[0]) / 1000)


def note_recorder(place: str) -> None:
    """Record that a recorder is at work on this machine or in this container. Raises redis.RedisError.

    Redis itself reports only since version 7.2 when a consumer last tried to read.
    """
    # A full Redis refuses this, but the recorder makes room, so it must continue.
    with suppress(redis.ResponseError):
        for where in (place, ANYWHERE):
            client().set(RECORDER + where, 1, ex=RECORDER_NOTED)


def has_recorder(place: str) -> bool:
    """Return whether a recorder was at work there, or ANYWHERE, within the last minute. Raises redis.RedisError."""
    return bool(client().exists(RECORDER + place))


def forget_idle_consumers(*, idle: float) -> None:
    """Remove consumers that hold nothing and have not read for `idle` seconds."""
    for consumer in client().xinfo_consumers(EVENTS, GROUP):
        if consumer["pending"] == 0 and consumer["idle"] > idle * 1000:
            client().xgroup_delconsumer(EVENTS, GROUP, consumer["name"])


def _streams(answer: Any) -> list[Any]:
    """Return the entry lists of an XREADGROUP answer, which is a list or (RESP3) a map."""
    if isinstance(answer, dict):
        return [entries[0] if len(entries) == 1 else entries for entries in answer.values()]
    return [entries for _, entries in answer]


def _entries(rows: Iterable[Any]) -> list[Entry]:
    return [Entry(id=text(row[0]), raw=(row[1] or {}).get(b"e")) for row in rows if row is not None]
