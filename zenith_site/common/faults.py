"""What nobody foresaw: a loop that failed as a whole, or one of its items, which was passed over.

A fault is logged with its traceback, counted, and kept in Redis for `manage.py doctor`, /metrics and a notification. It never
stops whoever met it. That a server is away is no fault: it is waited for.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import redis
from django.db import InterfaceError, OperationalError, ProgrammingError
from psycopg.errors import ProgramLimitExceeded, UndefinedColumn, UndefinedTable

from zenith_site.common.errors import BrokerUnavailableError
from zenith_site.common.masking import mask_text
from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import FAULT_COUNTS, FAULTS

logger = logging.getLogger(__name__)

#: Seconds for which a fault counts as present: longer than the longest pause of a loop that goes on failing.
RECENT: Final = 120.0
#: Characters kept of an error, and of what names an item.
_KEPT: Final = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """The newest fault of one part of Zenith.

    Attributes:
        part: the loop, as `run_engine --only` and the agent name it.
        item: what was passed over; empty where the loop failed as a whole.
        place: host and process.
        at: Unix time in seconds.
    """

    part: str
    item: str
    error: str
    place: str
    at: float


def is_away(error: Exception) -> bool:
    """Whether an error only says that PostgreSQL, Redis or the broker cannot be used now."""
    if isinstance(error, redis.ResponseError):
        # Of what Redis refuses, a lack of room passes by itself; a command that does not fit its key does not.
        return not str(error).startswith(("WRONGTYPE", "ERR"))
    if isinstance(error, ProgrammingError):
        # Migrations may come a moment after the processes that need them.
        return isinstance(error.__cause__, UndefinedTable | UndefinedColumn)
    if isinstance(error.__cause__, ProgramLimitExceeded):
        # A value that is nested too deeply or is too large for PostgreSQL: it will be the next time, too.
        return False
    return isinstance(error, OperationalError | InterfaceError | redis.RedisError | BrokerUnavailableError)


@contextmanager
def contained(part: str, item: object) -> Iterator[None]:
    """Pass over one item of a loop that raises what nobody foresaw, so that the others are not held up by it.

    Must stand outside of a transaction. Raises what says that a server is away.
    """
    try:
        yield
    except Exception as error:
        if is_away(error):
            raise
        record_fault(part, error, item)


def record_fault(part: str, error: Exception, item: object = "") -> None:
    """Log a fault, and keep it where Redis answers. Never raises."""
    named = _bounded(str(item))
    logger.error("%s failed%s: %s", part, f" at {named}" if named else "", _said(error), exc_info=error)
    fault = Fault(part, named, _said(error), f"{socket.gethostname()}:{os.getpid()}", time.time())
    try:
        with client().pipeline(transaction=True) as pipe:
            pipe.hset(FAULTS, part, json.dumps(asdict(fault)))
            pipe.hincrby(FAULT_COUNTS, part, 1)
            pipe.execute()
    except redis.RedisError as away:
        logger.warning("That could not be noted: %s", away)


def recent() -> list[Fault]:
    """Return the newest fault of each part that had one lately, by part. Raises redis.RedisError."""
    found: dict[bytes, bytes] = client().hgetall(FAULTS)  # type: ignore[assignment]
    faults = (_read(raw) for raw in found.values())
    return sorted((fault for fault in faults if fault and time.time() - fault.at < RECENT), key=lambda fault: fault.part)


def counts() -> dict[str, int]:
    """Return how many faults each part has had since Redis was emptied. Raises redis.RedisError."""
    found: dict[bytes, bytes] = client().hgetall(FAULT_COUNTS)  # type: ignore[assignment]
    return {text(part): int(count) for part, count in sorted(found.items()) if count.isdigit() and len(count) < 16}


def _read(raw: bytes) -> Fault | None:
    try:
        members: dict[str, Any] = json.loads(raw)
        return Fault(**{name: str(members[name]) for name in ("part", "item", "error", "place")}, at=float(members["at"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _said(error: Exception) -> str:
    return _bounded(mask_text(f"{type(error).__name__}: {str(error)[:_KEPT]}".rstrip(": ")))


def _bounded(said: str) -> str:
    return " ".join(said[:_KEPT].split())
