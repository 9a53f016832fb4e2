"""What the observer of an application says of itself, for pages and commands: whether it listens, and what it lost."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import redis

from zenith_worker.wire.client import client
from zenith_worker.wire.keys import OBSERVER

#: Seconds after which an observer that says nothing does not listen.
KEPT: Final = 15


@dataclass(frozen=True, slots=True)
class ObserverState:
    """The newest that an observer said.

    Attributes:
        listens: whether it is connected.
        reason: why it is not, or what it cannot do.
        since: Unix time in seconds since which it listens, or does not.
        events: how many events it has received since its start.
        lost: how many of them were dropped because Zenith could not keep up.
        odd: how many were not as Celery writes them.
        delay: seconds between the newest event's own time and its arrival.
        per_second: events per second lately.
    """

    listens: bool
    reason: str = ""
    since: float = 0.0
    events: int = 0
    lost: int = 0
    odd: int = 0
    delay: float = 0.0
    per_second: float = 0.0


def write(name: str, state: ObserverState) -> None:
    """Keep an observer's state for a few seconds. Raises redis.RedisError."""
    client().set(OBSERVER + name, json.dumps(asdict(state)), ex=KEPT)


def forget(name: str) -> None:
    """Remove an observer's state. Raises redis.RedisError."""
    client().delete(OBSERVER + name)


def read(name: str) -> ObserverState | None:
    """Return what an application's observer said lately, or None: then none runs. Raises redis.RedisError."""
    try:
        raw: Any = client().get(OBSERVER + name)
        return None if raw is None else ObserverState(**json.loads(raw))
    except (redis.ResponseError, ValueError, TypeError, RecursionError):
        return None  # of another release


def now() -> float:
    """Return the time for `since`."""
    return time.time()
