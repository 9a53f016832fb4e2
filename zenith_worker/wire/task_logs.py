"""What tasks log, on its way from the workers to PostgreSQL: a Redis Stream for each application, beside that of its events.

1. A worker appends what its tasks logged lately as one entry (`append`): the lines of each run that logged something.
2. One recorder at a time reads the entries of all applications (`read`), stores them, and only then removes them (`done`). What
   it had read and not removed when it died, the next one reads first: all are one consumer of the group.
3. While nobody records, each stream keeps its newest entries. Lines are numbered in their run, so what is missing can be told.

Which application a line belongs to follows from the stream in which it lies. Only this module uses these keys.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import redis

from zenith_worker.wire import stream
from zenith_worker.wire.client import client, command, text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.keys import NATIVE, application_keys, own_application
from zenith_worker.wire.stream import Entry

GROUP: Final = "logs"
#: The one consumer of the group, whoever it is at the moment.
CONSUMER: Final = "recorder"
#: Entries that a stream keeps (Redis trims whole blocks, so there may be some more), and bytes that one holds.
ENTRIES_KEPT: Final = 4_000
ENTRY_BYTES: Final = 64 * 2**10
#: Characters kept of a message, and of a logger's name.
MESSAGE_KEPT: Final = 8_000
LOGGER_KEPT: Final = 200
#: What is set aside of an entry that cannot be read.
_SET_ASIDE_KEPT: Final = 64 * 2**10
#: Greater than every valid time (the year 9999), and than every count.
_BEYOND: Final = 253_402_300_800


class LogLine(NamedTuple):
    """One logged line, which may hold line breaks: Unix time in seconds, level as `logging` numbers it, logger and message."""

    at: float
    level: int
    logger: str
    message: str


@dataclass(slots=True, kw_only=True)
class LogChunk:
    """Successive lines of one run of a task.

    Attributes:
        task_id: Celery's id, which may be any text.
        first: how many lines the run had logged before these, with those that were dropped.
        source: a number that tells apart two runs of the same delivery.
    """

    task_id: str
    lines: list[LogLine]
    first: int = 0
    nesting: int = 0
    attempt: int = 0
    delivery: int = 0
    source: int = 0


class UnreadableLogsError(ValueError):
    """An entry of the stream does not hold what `encode` writes."""


#: The numbers of a chunk by their names in an entry.
_NUMBERS: Final = {"f": "first", "n": "nesting", "a": "attempt", "d": "delivery", "s": "source"}


def encode(chunks: Iterable[LogChunk]) -> bytes:
    """Return chunks as the JSON of one entry, without zeros."""
    rows = [
        {"t": chunk.task_id, **{key: number for key, name in _NUMBERS.items() if (number := getattr(chunk, name))},
         "l": chunk.lines}
        for chunk in chunks
    ]  # fmt: skip
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decode(raw: bytes | None) -> list[LogChunk]:
    """Return the chunks of one entry, with messages and loggers' names cut to their bounds. Raises UnreadableLogsError."""
    try:
        return [_chunk(row) for row in _list(json.loads(raw or b""))]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableLogsError(f"{type(error).__name__}: {error}") from error


def _chunk(row: Any) -> LogChunk:
    if type(row) is not dict:
        raise TypeError("the lines of a run are not an object")
    numbers = {name: _number(row.get(key, 0), int) for key, name in _NUMBERS.items()}
    return LogChunk(task_id=_text(row["t"]), lines=[_line(*line) for line in _list(row["l"])], **numbers)


def _line(at: Any, level: Any, logger: Any, message: Any, *_: Any) -> LogLine:
    kept = _text(logger)[:LOGGER_KEPT], _text(message)[:MESSAGE_KEPT]
    return LogLine(_number(at, float, int), _number(level, int), *kept)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(f"a {type(value).__name__} is not a list")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"a {type(value).__name__} is not text")
    return value


def _number(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"a {type(value).__name__} is not a number")
    if not 0 <= value < _BEYOND:
        raise ValueError("a number is out of range")
    return value


def append(chunks: Sequence[LogChunk], application: str | None = None) -> None:
    """Append chunks to an application's stream as one entry. Raises redis.RedisError; then it may still have been appended.

    Without its name, the application is that of this process.
    """
    key = _key(own_application() if application is None else application)
    command("XADD", key, "MAXLEN", "~", ENTRIES_KEPT, "*", "l", encode(chunks))


def ensure_group(application: str = NATIVE) -> None:
    """Create an application's stream and its consumer group if they are missing. Raises redis.RedisError."""
    try:
        client().xgroup_create(_key(application), GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def read(applications: Sequence[str], *, count: int, block: float, again: bool = False) -> list[Entry]:
    """Return up to `count` new entries of each application, waiting at most `block` seconds for the first, in one call.

    With `again` they are those that were read before and not removed. Raises redis.ResponseError if a stream has no group.
    """
    by_key = {_key(application).encode(): application for application in applications}
    places: dict[Any, Any] = dict.fromkeys(by_key, "0" if again else ">")
    answer = client().xreadgroup(GROUP, CONSUMER, places, count=count, block=max(1, int(block * 1000)))
    return [
        Entry(text(row[0]), (row[1] or {}).get(b"l"), by_key[key])
        for key, rows in stream.streams_of(answer or ())
        for row in rows
        if row is not None
    ]


def done(entries: Sequence[Entry]) -> None:
    """Acknowledge and remove entries whose lines are committed. Raises redis.RedisError."""
    ids: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        ids[entry.application].append(entry.id)
    with client().pipeline(transaction=False) as pipe:
        for application, own in ids.items():
            pipe.xack(_key(application), GROUP, *own)
            pipe.xdel(_key(application), *own)
        pipe.execute()


def set_aside(entry: Entry, reason: str) -> None:
    """Move an entry that cannot be read or stored to the stream of unreadable entries, with the reason."""
    stream.set_aside_unsent((entry.raw or b"")[:_SET_ASIDE_KEPT], reason, entry.application)
    done([entry])


def length(application: str = NATIVE) -> int:
    """Return how many entries of an application wait. Raises redis.RedisError."""
    return int(client().xlen(_key(application)))


def _key(application: str) -> str:
    return application_keys(application).logs
