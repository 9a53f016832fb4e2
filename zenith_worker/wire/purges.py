"""Purging a queue of an attached application: Zenith does not see its broker, so one of its workers removes the messages.

It travels as remote control does (control.py): a worker takes the command away before it does anything, so that it is carried out
once or never, and leaves the answer under a key that expires soon. The worker reports each removed task as REVOKED, as far as the
messages tell which tasks they are of.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import uuid4

import redis

from zenith_worker.wire import commands, control
from zenith_worker.wire.client import client
from zenith_worker.wire.commands import Kind
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.queue_names import LONGEST, why_reserved

#: What a worker's heartbeat says that it obeys (heartbeat.py: queue_commands).
PAUSE: Final = "pause"
PURGE: Final = "purge"

#: Messages that one command removes at most, and seconds for which a worker removes some.
MOST: Final = 10_000
WITHIN: Final = 5.0
#: Seconds for which a server waits for the answer once a worker has taken the command.
ANSWERED_WITHIN: Final = WITHIN + 5.0
#: Characters kept of the caller's name, and of a reason.
_BY_KEPT: Final = 200
_REASON_KEPT: Final = 500
#: No count is greater.
_BEYOND: Final = 2**53


class Purged(NamedTuple):
    """What came of a purge.

    Attributes:
        removed: messages that are gone.
        told: those of them whose task the worker could name, and reported as REVOKED.
        remaining: messages that still wait; None if that is not known.
        error: why it ended early; empty if it did not.
    """

    removed: int = 0
    told: int = 0
    remaining: int | None = None
    error: str = ""


class UnansweredError(RuntimeError):
    """A worker took the command and did not answer in time: how much it removed is not known."""


class Request(NamedTuple):
    """What the body of a PURGE command asks for."""

    queue: str
    by: str
    most: int


def ask(application: str, queue: str, by: str, most: int = MOST) -> Purged:
    """Have one of an application's workers purge a queue, and return what came of it.

    Raises control.WithdrawnError, UnansweredError, and redis.RedisError, also if the application has put something else in the
    place of its keys.
    """
    token = uuid4().hex
    entry = commands.ask(application, Kind.PURGE, {"queue": queue, "by": by[:_BY_KEPT], "most": most, "token": token})
    found = _wait(application, token, control.PATIENCE)
    if found is None and commands.take(application, entry):
        raise control.WithdrawnError(f"no worker of {application} took it within {control.PATIENCE:g} s")
    found = found or _wait(application, token, ANSWERED_WITHIN)
    if found is None:
        raise UnansweredError(f"a worker of {application} took it and has not answered within {ANSWERED_WITHIN:g} s")
    return found


def request_of(body: Mapping[str, Any]) -> Request:
    """Return what the body of a PURGE command asks for. Raises ValueError, with the reason, for what is not allowed."""
    queue, by, most = (body.get(name) for name in ("queue", "by", "most"))
    if not (isinstance(queue, str) and 0 < len(queue) <= LONGEST and isinstance(by, str)):
        raise ValueError("it does not say which queue, and who asks")
    if type(most) is not int or not 0 < most <= MOST:
        raise ValueError(f"it does not say how many messages, {MOST:,} at most")
    if reason := why_reserved(queue):
        raise ValueError(reason)
    return Request(queue, by[:_BY_KEPT], most)


def answer(application: str, token: Any, purged: Purged) -> None:
    """Leave the answer to the command with this token. Raises redis.RedisError."""
    if control.is_token(token):
        body = json.dumps({**purged._asdict(), "error": purged.error[:_REASON_KEPT]})
        client().set(application_keys(application).control + token, body, px=int(control.ANSWER_KEPT * 1000))


def _wait(application: str, token: str, seconds: float) -> Purged | None:
    until = time.monotonic() + seconds
    while True:
        if (found := _look(application, token)) is not None:
            return found
        if time.monotonic() >= until:
            return None
        time.sleep(control.LOOK_EVERY)


def _look(application: str, token: str) -> Purged | None:
    """Return the answer if there is one. It is the application's own word, so only so much of it is read."""
    try:
        raw: Any = client().getrange(application_keys(application).control + token, 0, control.LARGEST)
    except redis.ResponseError as error:
        return Purged(error=f"its answer cannot be read ({error})"[:_REASON_KEPT])
    return _read(raw) if raw else None


def _read(raw: bytes) -> Purged:
    try:
        values = json.loads(raw)
        remaining, error = values["remaining"], values["error"]
        if not isinstance(error, str):
            raise TypeError("the error is not text")
        removed, told = _count(values["removed"]), _count(values["told"])
        return Purged(removed, min(told, removed), None if remaining is None else _count(remaining), error[:_REASON_KEPT])
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        return Purged(error=f"its answer cannot be read ({type(problem).__name__})")


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _BEYOND:
        raise TypeError("not a count")
    return value
