"""The logs of nodes on their way to whoever reads them: a capped Redis stream for each node that somebody watches.

1. An open page or `node_logs --follow` says that it watches a node (`watch`), again and again while it does.
2. The node's agent asks which are watched (`watched`), follows their containers' logs, and appends the lines.
3. Readers `read` on from the last id that they saw; a line's id says nothing but its place.
4. Nobody watches any more: the agent lets go, and the stream runs out. What a container said last
   before it ended is kept in PostgreSQL (Node.log_tail).

This module alone knows the keys. Everything here raises redis.RedisError where Redis is away.
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

#: Seconds that a reader counts as watching after it said so, and that a node's lines are kept after the newest.
WATCHED_FOR: Final = 15
KEPT_FOR: Final = 600
#: Lines kept of a node; Redis drops whole blocks, so a few more may be there.
MAX_LINES: Final = 10_000
#: Characters of one line; the rest is cut off.
MAX_LENGTH: Final = 8_000

_BLOCK: Final = 500
#: Shown in place of an entry that is no line.
UNREADABLE: Final = "… an entry that is no line of a log"
STREAMS: Final = ("stdout", "stderr")
#: RFC 3339, or empty where the time is not known.
_AT: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,20}(Z|[+-][0-9:]{5}))?")
_ID: Final = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class Line:
    """A line as Docker has it: when (RFC 3339, with nanoseconds), on which stream, what."""

    at: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry(Line):
    """A line with the id after which to read on."""

    id: str


def topic(node: UUID) -> str:
    """Return the topic under which pages hear of a node's new lines (zenith_site.common.live_updates)."""
    return f"node-log-{node}"


def watch(node: UUID) -> None:
    """Say that somebody reads this node's log for the next WATCHED_FOR seconds."""
    with _client().pipeline(transaction=False) as pipe:
        pipe.set(f"{NODE_LOG_WATCHED}{node}", 1, ex=WATCHED_FOR)
        pipe.expire(f"{NODE_LOG}{node}", KEPT_FOR)
        pipe.execute()


def watched(nodes: Sequence[UUID]) -> set[UUID]:
    """Return those of the nodes whose logs somebody reads."""
    if not nodes:
        return set()
    answers = _client().mget([f"{NODE_LOG_WATCHED}{node}" for node in nodes])
    return {node for node, answer in zip(nodes, answers, strict=True) if answer is not None}


def append(node: UUID, lines: Iterable[Line]) -> None:
    """Add lines, the oldest first."""
    found = list(lines)
    key = f"{NODE_LOG}{node}"
    for start in range(0, len(found), _BLOCK):
        with _client().pipeline(transaction=False) as pipe:
            for line in found[start : start + _BLOCK]:
                fields = {"t": line.at, "s": line.stream, "m": line.text[:MAX_LENGTH]}
                pipe.xadd(key, fields, maxlen=MAX_LINES, approximate=True)
            pipe.expire(key, KEPT_FOR)
            pipe.execute()


def read(node: UUID, after: str = "", limit: int = 1000) -> list[Entry]:
    """Return lines that came after the one of this id, the oldest first; without an id, the newest.

    Raises ValueError where `after` is no id.
    """
    key = f"{NODE_LOG}{node}"
    if after:
        if not _ID.fullmatch(after):
            raise ValueError(f"{after!r} is not the id of a line")
        return [_entry(*item) for item in _client().xrange(key, min=f"({after}", count=limit)]
    return [_entry(*item) for item in reversed(_client().xrevrange(key, count=limit))]


def newest_at(node: UUID) -> str:
    """Return Docker's time of the newest line; empty where there is none."""
    newest = read(node, limit=1)
    return newest[0].at if newest else ""


def _entry(id_: str, fields: dict[str, str]) -> Entry:
    """Return an entry as a line. What no agent wrote is one, too, so that readers go on behind it."""
    at, stream, said = (fields.get(name) for name in ("t", "s", "m"))
    if at is None or not _AT.fullmatch(at) or stream not in STREAMS or said is None:
        return Entry(id=id_, at="", stream="stderr", text=UNREADABLE)
    return Entry(id=id_, at=at, stream=stream, text=said[:MAX_LENGTH])


@cache
def _client() -> Any:
    """Return this process's connections; answers as text, which the client's own types do not know."""
    return redis.Redis.from_url(
        settings.ZENITH_REDIS_URL, decode_responses=True, encoding_errors="replace", socket_timeout=10, socket_connect_timeout=5
    )
