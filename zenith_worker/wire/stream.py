"""The Redis Streams that carry every step of every task from the workers to the recorders: one for each application.

1. A step is reported by appending an entry (`append`): one field with a JSON list of events.
2. Recorders read entries through a consumer group (`read`), apply them to PostgreSQL, and only then remove them (`done`): at
   least once, never at most once.
3. Another recorder claims what a dead one had read but not removed (`claim`).
4. An entry that cannot be read or applied is moved to a second stream with the reason (`set_aside`), so that it blocks nothing
   and is not lost. All applications share that stream.

Which application an entry belongs to follows from the stream in which it lies.

Only this module uses these keys, and claims.py, which reports an outcome and releases its claim in one step.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import redis

from zenith_worker.wire import recorder_stats
from zenith_worker.wire.client import client, command, load, script, text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.events import Event, encode
from zenith_worker.wire.keys import NATIVE, RECORDER, RECORDER_STATS, UNREADABLE, application_keys, own_application

GROUP: Final = "recorder"
#: Seconds for which a recorder counts as at work: longer than the largest batch takes.
RECORDER_NOTED: Final = 60
#: Stands for any place.
ANYWHERE: Final = "*"
UNREADABLE_KEPT: Final = 10_000

_DONE: Final = load("batch_done")
_BOUNDS: Final = tuple(json.dumps(bounds) for bounds in (recorder_stats.SIZES, recorder_stats.DELAYS_MS))


def append(events: Sequence[Event], application: str | None = None) -> None:
    """Append events to an application's stream as one entry, in one round trip. Raises redis.RedisError.

    Without its name, the application is that of this process.
    """
    if events:
        name = own_application() if application is None else application
        command("XADD", application_keys(name).events, "*", "e", encode(events))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as a recorder reads it, and the application in whose stream it lies."""

    id: str
    raw: bytes | None
    application: str = NATIVE


def ensure_group(application: str = NATIVE) -> None:
    """Create an application's stream and its consumer group if they are missing; the group begins with the oldest entry."""
    try:
        client().xgroup_create(_key(application), GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def read(consumer: str, *, count: int, block: float, applications: Sequence[str] = (NATIVE,)) -> list[Entry]:
    """Return up to `count` new entries of each application, waiting at most `block` seconds for the first, in one call.

    Raises redis.ResponseError if one of the streams has no consumer group, or is none.
    """
    by_key = {_key(application).encode(): application for application in applications}
    answer = client().xreadgroup(GROUP, consumer, dict.fromkeys(by_key, ">"), count=count, block=max(1, int(block * 1000)))
    return [entry for key, rows in streams_of(answer or ()) for entry in _entries(rows, by_key[key])]


def claim(consumer: str, *, idle: float, count: int, application: str = NATIVE) -> list[Entry]:
    """Take over entries that another recorder has held for more than `idle` seconds."""
    answer = client().xautoclaim(_key(application), GROUP, consumer, int(idle * 1000), "0-0", count=count)
    return _entries(answer[1], application)


def done(entries: Sequence[Entry]) -> None:
    """Acknowledge and remove a batch of entries whose events are committed, of each application the oldest first.

    Only Zenith's own are counted: the counters tell delays, and another application may give its entries any time.
    """
    ids: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        ids[entry.application].append(entry.id)
    for application, done_ids in ids.items():
        script(_DONE, _key(application), GROUP, RECORDER_STATS if application == NATIVE else "", *_BOUNDS, *done_ids)


def set_aside(entry: Entry, reason: str) -> None:
    """Move an entry that cannot be read or applied to the second stream, with the reason."""
    members: dict[Any, Any] = {"e": entry.raw or b"", "id": entry.id, "reason": reason[:2000], "at": time.time()}
    if entry.application != NATIVE:
        members["application"] = entry.application
    with client().pipeline(transaction=True) as pipe:
        pipe.xadd(UNREADABLE, members, maxlen=UNREADABLE_KEPT, approximate=True)
        pipe.xack(_key(entry.application), GROUP, entry.id)
        pipe.xdel(_key(entry.application), entry.id)
        pipe.execute()


def set_aside_unsent(raw: bytes, reason: str, application: str) -> None:
    """Keep, in the second stream, something that cannot become an entry, with the reason. Raises redis.RedisError."""
    members: dict[Any, Any] = {"e": raw, "id": "-", "reason": reason[:2000], "at": time.time(), "application": application}
    client().xadd(UNREADABLE, members, maxlen=UNREADABLE_KEPT, approximate=True)


def length(application: str = NATIVE) -> int:
    """Return how many entries of an application are waiting or being applied."""
    return int(client().xlen(_key(application)))


def lag(application: str = NATIVE) -> float:
    """Return the seconds that an application's oldest entry has waited, by Redis' clock. Raises redis.RedisError."""
    oldest = client().xrange(_key(application), count=1)
    return _age(oldest[0][0]) if oldest else 0.0


def newest_age(application: str) -> float | None:
    """Return how many seconds ago an application's newest entry came, by Redis' clock; None without one.

    Raises redis.RedisError, also if the key holds no stream.
    """
    try:
        newest = text(client().xinfo_stream(_key(application))["last-generated-id"])
    except redis.ResponseError as error:
        if "no such key" in str(error):
            return None
        raise
    return None if newest == "0-0" else _age(newest)


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


def forget_idle_consumers(*, idle: float, application: str = NATIVE) -> None:
    """Remove consumers that hold nothing and have not read for `idle` seconds."""
    for consumer in client().xinfo_consumers(_key(application), GROUP):
        if consumer["pending"] == 0 and consumer["idle"] > idle * 1000:
            client().xgroup_delconsumer(_key(application), GROUP, consumer["name"])


def _key(application: str) -> str:
    return application_keys(application).events


def streams_of(answer: Any) -> list[tuple[bytes, Any]]:
    """Return the keys and entries of an XREADGROUP answer, which is a list or (RESP3) a map. Also for commands.py."""
    if isinstance(answer, dict):
        return [(key, entries[0] if len(entries) == 1 else entries) for key, entries in answer.items()]
    return [(key, entries) for key, entries in answer]


def _entries(rows: Iterable[Any], application: str) -> list[Entry]:
    return [Entry(text(row[0]), (row[1] or {}).get(b"e"), application) for row in rows if row is not None]
