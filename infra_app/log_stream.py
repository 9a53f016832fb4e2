"""Logs of nodes on their way to readers: a capped Redis stream for each node that someone is watching.

1. An open page or `node_logs --follow` declares that it watches a node (`watch`) and repeats that while it does.
2. The node's agent asks which nodes are watched (`watched`), follows their containers' logs, and appends the lines.
3. Readers call `read` with the last id they received; an id only gives a line's position.
4. When nobody watches any more, the agent stops following and the stream expires. The last lines of a container that has
   exited are kept in PostgreSQL (Node.log_tail).

Only this module knows the keys. Every function raises redis.RedisError if Redis is unreachable.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from uuid import UUID

import redis
from django.conf import settings

from zenith_worker.wire.keys import NODE_LOG, NODE_LOG_WATCHED

#: Seconds for which a reader counts as watching after `watch`, and for which lines are kept after the newest one.
WATCHED_FOR: Final = 15
KEPT_FOR: Final = 600
#: Lines kept per node; Redis trims whole blocks, so there may be a few more.
MAX_LINES: Final = 10_000
#: Characters per line; the rest is cut off.
MAX_LENGTH: Final = 8_000

_BLOCK: Final = 500
#: Shown in place of an entry that is not a log line.
UNREADABLE: Final = "… this entry is not a log line"
STREAMS: Final = ("stdout", "stderr")
#: RFC 3339, or empty if the time is not known.
_AT: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,20}(Z|[+-][0-9:]{5}))?")
_ID: Final = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class Line:
    """A log line from Docker: time (RFC 3339, with nanoseconds), stream and text."""

    at: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry(Line):
    """A line with its id, after which to continue reading."""

    id: str


def topic(node: UUID) -> str:
    """Return the topic of live updates that announces a node's new lines (zenith_site.common.live_updates)."""
    return f"node-log-{node}"


def watch(node: UUID) -> None:
    """Declare that someone is reading this node's log for the next WATCHED_FOR seconds."""
    with _client().pipeline(transaction=False) as pipe:
        pipe.set(f"{NODE_LOG_WATCHED}{node}", 1, ex=WATCHED_FOR)
        pipe.expire(f"{NODE_LOG}{node}", KEPT_FOR)
        pipe.execute()


def watched(nodes: Sequence[UUID]) -> set[UUID]:
    """Return the nodes whose logs someone is reading."""
    if not nodes:
        return set()
    answers = _client().mget([f"{NODE_LOG_WATCHED}{node}" for node in nodes])
    return {node for node, answer in zip(nodes, answers, strict=True) if answer is not None}


def append(node: UUID, lines: Iterable[Line]) -> None:
    """Append lines, oldest first."""
    batch = list(lines)
    key = f"{NODE_LOG}{node}"
    for start in range(0, len(batch), _BLOCK):
        with _client().pipeline(transaction=False) as pipe:
            for line in batch[start : start + _BLOCK]:
                fields = {"t": line.at, "s": line.stream, "m": line.text[:MAX_LENGTH]}
                pipe.xadd(key, fields, maxlen=MAX_LINES, approximate=True)
            pipe.expire(key, KEPT_FOR)
            pipe.execute()


def read(node: UUID, after: str = "", limit: int = 1000) -> list[Entry]:
    """Return the lines after this id, oldest first; without an id, the newest lines.

    Raises ValueError if `after` is not an id.
    """
    key = f"{NODE_LOG}{node}"
    if after:
        if not _ID.fullmatch(after):
            raise ValueError(f"{after!r} is not the id of a line")
        return [_entry(*item) for item in _client().xrange(key, min=f"({after}", count=limit)]
    return [_entry(*item) for item in reversed(_client().xrevrange(key, count=limit))]


def newest_at(node: UUID) -> str:
    """Return Docker's time of the newest line; empty if there is none."""
    newest = read(node, limit=1)
    return newest[0].at if newest else ""


def _entry(id_: str, fields: dict[str, str]) -> Entry:
    """Return an entry as a line. A malformed entry becomes one too, so that readers continue after it."""
    at, stream, text = (fields.get(name) for name in ("t", "s", "m"))
    if at is None or not _AT.fullmatch(at) or stream not in STREAMS or text is None:
        return Entry(id=id_, at="", stream="stderr", text=UNREADABLE)
    return Entry(id=id_, at=at, stream=stream, text=text[:MAX_LENGTH])


@cache
def _client() -> Any:
    """Return this process's client, which decodes answers to text (the client's type stubs do not know that)."""
    return redis.Redis.from_url(
        settings.ZENITH_REDIS_URL, decode_responses=True, encoding_errors="replace", socket_timeout=10, socket_connect_timeout=5
    )
