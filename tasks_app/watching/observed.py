"""What an observer knows of a watched application besides its workers' heartbeats, in Zenith's Redis, for the diagnosis."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import redis

from tasks_app.watching.redis_health import RedisHealth
from zenith_worker.wire.client import client
from zenith_worker.wire.keys import OBSERVED

#: Seconds for which it is kept without an observer that renews it.
KEPT: Final = 120
#: Names of tasks that are kept: of more, none is known.
NAMES_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Observed:
    """What an observer knows. None is not known.

    Attributes:
        at: when, as Unix time in seconds.
        names: of the tasks that workers online have.
        limits: the rate limits of some of them.
        early: those of all tasks seen lately that are acknowledged before they run.
        priorities: of the tasks that workers had when they were asked, within an hour.
        sent_events: whether an event of a sent task has arrived.
        redis: what the broker says of itself.
    """

    at: float = 0.0
    names: tuple[str, ...] | None = None
    limits: dict[str, str] | None = None
    early: tuple[str, ...] = ()
    priorities: tuple[int, ...] = ()
    sent_events: bool | None = None
    redis: RedisHealth | None = None


def write(name: str, observed: Observed) -> None:
    """Keep what an observer knows. Raises redis.RedisError."""
    client().set(OBSERVED + name, json.dumps(asdict(observed)), ex=KEPT)


def forget(name: str) -> None:
    """Remove what an observer knew. Raises redis.RedisError."""
    client().delete(OBSERVED + name)


def read(name: str) -> Observed:
    """Return what an application's observer knew lately, which may be nothing. Raises redis.RedisError."""
    try:
        raw: Any = client().get(OBSERVED + name)
        return Observed() if raw is None else _observed(json.loads(raw))
    except (redis.ResponseError, ValueError, TypeError, RecursionError):
        return Observed()  # of another release


def _observed(values: Any) -> Observed:
    if not isinstance(values, dict):
        raise TypeError("not an object")
    known = {item.name: values[item.name] for item in fields(Observed) if values.get(item.name) is not None}
    for name in ("names", "early", "priorities"):
        if name in known:
            known[name] = tuple(known[name])
    if "redis" in known:
        policy, used, limit, persistent, refused = known["redis"]
        known["redis"] = RedisHealth(policy, used, limit, persistent, tuple(refused))
    return Observed(**known)
