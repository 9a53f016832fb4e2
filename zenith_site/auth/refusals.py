"""Refusals in the audit log: 401, 403 and 429, and the sockets that were closed for the same reasons.

1. One script in Redis counts each refusal. Equal refusals (caller, kind and route) within a minute share an entry, which is
   written when the first of them is counted: a flood costs one write and then only the script.
2. A caller has at most PER_CALLER entries a minute, and all callers together MAX_ENTRIES. Refusals beyond that are counted in one
   more entry per caller, or in one for everybody. So nobody can fill the table.
3. `write_counts` writes the counts to PostgreSQL. It is idempotent: counts are absolute, and each entry has a random id. Redis
   forgets a count once it is written and its minute is over. The counts are written with each first refusal, and before the log
   is read or pruned.

An entry's fields wait in Redis beside its count, so nothing is lost while the database is unreachable.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import redis
from django.db import DataError, Error, IntegrityError, connection, transaction

from zenith_site.auth import throttle
from zenith_site.common.jsonsafe import storable, storable_text
from zenith_worker.wire.client import text
from zenith_worker.wire.keys import REFUSALS

logger = logging.getLogger(__name__)

#: Entries of one caller in one minute, and of all callers together.
PER_CALLER: Final = 10
MAX_ENTRIES = 100
#: Seconds for which equal refusals share an entry.
MINUTE = 60
#: Hashes in Redis: the count of each refusal, the fields of its entry, and the number of entries of each caller.
KEYS: Final = (REFUSALS, REFUSALS + ":entries", REFUSALS + ":callers")
#: Seconds after which Redis forgets counts that nobody has written.
_FORGOTTEN: Final = 7 * 24 * 3600
#: A raw token of Zenith's inside other text.
_TOKEN: Final = re.compile(r"zen_[\w-]{20,}")

# KEYS: KEYS. ARGV: caller, kind, PER_CALLER, MAX_ENTRIES, MINUTE, _FORGOTTEN, and three entries: for this kind, for the rest of
# the caller's and for the rest of everybody's. Returns the number (from 1) of the entry that was counted, and its count.
_COUNT: Final = """
local minute = math.floor(redis.call('TIME')[1] / ARGV[5])
local own = minute .. ':' .. ARGV[1]
local names = {own .. ':' .. ARGV[2], own .. ':', minute .. ':'}
local room = redis.call('HLEN', KEYS[1]) < tonumber(ARGV[4])
local entry_number = 3
if redis.call('HEXISTS', KEYS[1], names[1]) == 1 then
  entry_number = 1
elseif room and tonumber(redis.call('HGET', KEYS[3], own) or '0') < tonumber(ARGV[3]) then
  entry_number = 1
  redis.call('HINCRBY', KEYS[3], own, 1)
elseif room or redis.call('HEXISTS', KEYS[1], names[2]) == 1 then
  entry_number = 2
end
local count = redis.call('HINCRBY', KEYS[1], names[entry_number], 1)
if count == 1 then redis.call('HSET', KEYS[2], names[entry_number], ARGV[6 + entry_number]) end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[6]) end
return {entry_number, count}
"""
# KEYS: KEYS. ARGV: MINUTE, and pairs of a name and the count that was written. Forgets those of past minutes whose count has not
# changed since.
_FORGET: Final = """
local minute = math.floor(redis.call('TIME')[1] / ARGV[1])
for i = 2, #ARGV, 2 do
  if tonumber(string.match(ARGV[i], '^%d+')) < minute and redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
for _, name in ipairs(redis.call('HKEYS', KEYS[3])) do
  if tonumber(string.match(name, '^%d+')) < minute then redis.call('HDEL', KEYS[3], name) end
end
"""
# The order prevents a deadlock between two processes that write at the same time.
_WRITE: Final = """
    INSERT INTO zenith_site_auditentry
        (refusal, count, at, user_id, username, token, address, action, path, status, detail)
    SELECT refusal, count, at, user_id, username, token, address, action, path, status, detail
    FROM jsonb_to_recordset(%s::jsonb) AS entry (refusal uuid, count int, at timestamptz, user_id bigint, username varchar,
        token varchar, address inet, action varchar, path varchar, status smallint, detail jsonb)
    ORDER BY refusal
    ON CONFLICT (refusal) WHERE refusal IS NOT NULL
        DO UPDATE SET count = greatest(zenith_site_auditentry.count, excluded.count)
"""
_TOGETHER: Final = "More than {} in a minute are counted together."
#: When this process last logged that refusals cannot be counted (monotonic seconds).
_logged_at = float("-inf")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused.

    Attributes:
        caller: identifies the caller: a token's or a user's id, or the network of an anonymous client.
        action: method and route, as in other entries.
        status: the status of the HTTP response, or the close code of a WebSocket.
        why: a sentence that holds nothing that the caller sent.
    """

    caller: str
    action: str
    status: int
    why: str
    path: str = ""
    address: str | None = None
    user_id: int | None = None
    username: str = ""
    token: str = ""


def record(refusal: Refusal) -> None:
    """Count a refusal, and write its entry if it is the first of its kind in this minute.

    Never raises because a server is unreachable.
    """
    entries = _entries(refusal)
    try:
        entry_number, count = _count(refusal, entries)
    except redis.RedisError as error:
        _log(error, refusal)
        return
    if count > 1:
        return
    try:
        _write([{**entries[entry_number - 1], "count": 1}])
        write_counts()
    except (Error, redis.RedisError) as error:
        logger.warning("Refusals will be written to the audit log later: %s", error)


def write_counts() -> None:
    """Write the current counts. Raises django.db.Error or redis.RedisError; the next call then writes them."""
    client = throttle.client()
    counts: Mapping[bytes, bytes] = client.hgetall(KEYS[0])  # type: ignore[assignment]
    if not counts:
        return
    fields: Mapping[bytes, bytes] = client.hgetall(KEYS[1])  # type: ignore[assignment]
    entries = ((_read(fields.get(name)), int(count)) for name, count in counts.items())
    _write_storable([{**entry, "count": count} for entry, count in entries if entry is not None])
    client.eval(_FORGET, len(KEYS), *KEYS, MINUTE, *(part for pair in counts.items() for part in pair))


def without_tokens(text: str) -> str:
    """Return a client's text in a form that may be kept: tokens masked, and storable in PostgreSQL."""
    return _TOKEN.sub("***", storable_text(text))


def _count(refusal: Refusal, entries: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Count a refusal; return the number (from 1) of the entry that it counts for, and that entry's count."""
    kind = f"{refusal.action} {refusal.status} {throttle.network(refusal.address)}"
    arguments: list[str | int] = [_digest(refusal.caller), _digest(kind), PER_CALLER, MAX_ENTRIES, MINUTE, _FORGOTTEN]
    entry_number, count = throttle.client().eval(_COUNT, len(KEYS), *KEYS, *arguments, *map(storable, entries))
    return int(entry_number), int(count)


def _entries(refusal: Refusal) -> tuple[dict[str, Any], ...]:
    """Return three entries: for this refusal, for the rest of its caller's, and for the rest of everybody's."""
    at = datetime.now(UTC).isoformat()
    who = {
        "user_id": refusal.user_id, "username": refusal.username, "token": refusal.token[:80], "address": refusal.address,
    }  # fmt: skip
    anonymous = {"user_id": None, "username": "", "token": "", "address": None}
    rest = {"at": at, "action": "further refusals", "path": "", "status": None}
    return (
        {
            **who, "refusal": str(uuid4()), "at": at, "action": without_tokens(refusal.action)[:200],
            "path": without_tokens(refusal.path)[:500], "status": refusal.status, "detail": {"why": without_tokens(refusal.why)},
        },
        {**who, **rest, "refusal": str(uuid4()), "detail": {"why": _TOGETHER.format(f"{PER_CALLER} kinds of refusal")}},
        {**anonymous, **rest, "refusal": str(uuid4()), "detail": {"why": _TOGETHER.format(f"{MAX_ENTRIES} callers and kinds")}},
    )  # fmt: skip


def _read(raw: bytes | None) -> dict[str, Any] | None:
    """Return an entry from Redis; None if it is not one."""
    try:
        entry = json.loads(raw or b"")
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _write_storable(entries: Sequence[Mapping[str, Any]]) -> None:
    """Write entries together; if one cannot be stored, write all others, so that it does not block them for ever."""
    try:
        _write(entries)
    except (DataError, IntegrityError):
        for entry in entries:
            try:
                _write([entry])
            except (DataError, IntegrityError) as error:
                logger.error("Could not write to the audit log (%s): %r", error, entry)


def _write(entries: Sequence[Mapping[str, Any]]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_WRITE, [storable(list(entries))])


def _digest(name: str) -> str:
    return hashlib.sha256(text(name).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _log(error: Exception, refusal: Refusal) -> None:
    """Log the error once a minute: a flood must not fill the process's log either."""
    global _logged_at
    if time.monotonic() - _logged_at >= MINUTE:
        _logged_at = time.monotonic()
        logger.error("Could not count refusals for the audit log (%s). Latest: %s, %s", error, refusal.action, refusal.status)
