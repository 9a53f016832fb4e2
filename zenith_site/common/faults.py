"""Faults are unexpected errors: a loop failed as a whole, or at one item, which was skipped.

A fault is logged with its traceback, counted, and kept in Redis for `manage.py doctor`, /metrics and a notification. It never
stops the caller. An unreachable server is no fault: loops wait for it.
"""

import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import redis
from django.db import InterfaceError, OperationalError, ProgrammingError
from psycopg.errors import InvalidColumnReference, ProgramLimitExceeded, UndefinedColumn, UndefinedTable

from zenith_site.common.errors import BrokerUnavailableError
from zenith_site.common.masking import mask_text
from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import FAULT_COUNTS, FAULTS

logger = logging.getLogger(__name__)

#: Seconds for which a fault counts as current: longer than the longest back-off of a loop that keeps failing.
RECENT: Final = 120.0
#: Characters kept of an error, and of what names an item.
_KEPT: Final = 500
#: Before Redis 7, an error of a script begins with the script's name.
_WRONG_TYPE_IN_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -?WRONGTYPE")


@dataclass(frozen=True, slots=True)
class Fault:
    """The newest fault of one part of Zenith.

    Attributes:
        part: the loop, as `run_engine --only` and the agent name it.
        item: what was skipped; empty if the loop failed as a whole.
        place: host and process.
        at: Unix time in seconds.
    """

    part: str
    item: str
    error: str
    place: str
    at: float


def is_unreachable(error: Exception) -> bool:
    """Whether an error only says that PostgreSQL, Redis or the broker cannot be used at the moment."""
    if isinstance(error, redis.ResponseError):
        # Redis may run out of memory for a while; a command of the wrong type for its key fails every time.
        # redis-py puts the command in front of the answer if it was one of several.
        answer = str(error).rpartition("of pipeline caused error: ")[2]
        return not answer.startswith(("WRONGTYPE", "ERR")) and not _WRONG_TYPE_IN_SCRIPT.search(answer)
    if isinstance(error, ProgrammingError):
        # The processes may start a moment before the migrations that they need, also those of the key of an ON CONFLICT.
        return isinstance(error.__cause__, UndefinedTable | UndefinedColumn | InvalidColumnReference)
    if isinstance(error.__cause__, ProgramLimitExceeded):
        # A value is too large or nested too deeply for PostgreSQL, and will be next time.
        return False
    return isinstance(error, OperationalError | InterfaceError | redis.RedisError | BrokerUnavailableError)


@contextmanager
def isolate_faults(part: str, item: object) -> Iterator[None]:
    """Skip one item of a loop if it raises an unexpected error, and record the fault, so that the other items are not blocked.

    Must not be inside a transaction. Raises errors that only say that a server is unreachable.
    """
    try:
        yield
    except Exception as error:
        if is_unreachable(error):
            raise
        record_fault(part, error, item)


def record_fault(part: str, error: Exception, item: object = "") -> None:
    """Log a fault, and keep it if Redis answers. Never raises."""
    item_name = _bounded(str(item))
    logger.error("%s failed%s: %s", part, f" at {item_name}" if item_name else "", _message(error), exc_info=error)
    fault = Fault(part, item_name, _message(error), f"{socket.gethostname()}:{os.getpid()}", time.time())
    try:
        with client().pipeline(transaction=True) as pipe:
            pipe.hset(FAULTS, part, json.dumps(asdict(fault)))
            pipe.hincrby(FAULT_COUNTS, part, 1)
            pipe.execute()
    except redis.RedisError as redis_error:
        logger.warning("Could not record the fault in Redis: %s", redis_error)


def recent() -> list[Fault]:
    """Return the current fault of each part that has one, by part. Raises redis.RedisError."""
    entries: dict[bytes, bytes] = client().hgetall(FAULTS)  # type: ignore[assignment]
    faults = (_read(raw) for raw in entries.values())
    return sorted((fault for fault in faults if fault and time.time() - fault.at < RECENT), key=lambda fault: fault.part)


def counts() -> dict[str, int]:
    """Return how many faults each part has had since Redis was emptied. Raises redis.RedisError."""
    entries: dict[bytes, bytes] = client().hgetall(FAULT_COUNTS)  # type: ignore[assignment]
    return {text(part): int(count) for part, count in sorted(entries.items()) if count.isdigit() and len(count) < 16}


def _read(raw: bytes) -> Fault | None:
    try:
        members: dict[str, Any] = json.loads(raw)
        return Fault(**{name: str(members[name]) for name in ("part", "item", "error", "place")}, at=float(members["at"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _message(error: Exception) -> str:
    return _bounded(mask_text(f"{type(error).__name__}: {str(error)[:_KEPT]}".rstrip(": ")))


def _bounded(message: str) -> str:
    return " ".join(message[:_KEPT].split())
