"""Which workers are alive: each writes a small key that runs out unless it is renewed.

The age of a heartbeat is read from the key's remaining life, so it is measured by Redis' clock
alone: a worker whose clock is wrong does not look dead.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import celery
from django.utils import timezone

from tasks_app.broker import instance
from tasks_app.tracking.line import client, text

_NAMES: Final = "zenith:workers"
_KEY: Final = "zenith:worker:"
#: A key for each run of a worker that is gone soon after it died; claims.py looks at it too.
ALIVE: Final = "zenith:alive:"
#: Seconds between two heartbeats, after which a worker counts as offline, and is forgotten.
EVERY: Final = 2.0
OFFLINE_AFTER: Final = 8.0
#: Seconds without a heartbeat after which a worker's tasks are given to others.
DEAD_AFTER: Final = 12.0
KEPT: Final = 300.0


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """A worker as its newest heartbeat describes it."""

    name: str
    pid: int
    slots: int
    busy: int
    queues: tuple[str, ...]
    version: str
    instance: str
    held: tuple[str, ...]
    tags: tuple[str, ...]
    heartbeat_age: float

    @property
    def heartbeat_at(self) -> datetime:
        """When it last beat, by the clock of the process that asks; for pages that tick."""
        return timezone.now() - timedelta(seconds=self.heartbeat_age)

    @property
    def online(self) -> bool:
        """Whether the newest heartbeat is recent."""
        return self.heartbeat_age < OFFLINE_AFTER


def write(name: str, *, slots: int, busy: int, queues: Sequence[str], held: Sequence[str] = (), tags: Sequence[str] = ()) -> None:
    """Renew the heartbeat of the worker that runs in this process. Raises redis.RedisError.

    `held` are the ids of the tasks that it has reserved or runs, `tags` the delivery tags of the
    messages that it will still acknowledge.
    """
    body = {
        "pid": os.getpid(), "slots": slots, "busy": busy, "queues": sorted(queues),
        "version": celery.__version__, "instance": instance(), "held": list(held),
        "tags": list(tags),
    }  # fmt: skip
    with client().pipeline(transaction=True) as pipe:
        pipe.sadd(_NAMES, name)
        pipe.set(_KEY + name, json.dumps(body), px=int(KEPT * 1000))
        pipe.set(ALIVE + instance(), name, px=int(DEAD_AFTER * 1000))
        pipe.execute()


def forget(name: str) -> None:
    """Remove a worker that stopped on purpose. Raises redis.RedisError."""
    with client().pipeline(transaction=True) as pipe:
        pipe.srem(_NAMES, name)
        pipe.delete(_KEY + name, ALIVE + instance())
        pipe.execute()


def read_all() -> list[WorkerBeat]:
    """Return every worker heard of lately, by name. Raises redis.RedisError."""
    names = sorted(text(name) for name in client().smembers(_NAMES))
    if not names:
        return []
    with client().pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(_KEY + name)
            pipe.pttl(_KEY + name)
        answers = pipe.execute()
    pairs = zip(names, answers[::2], answers[1::2], strict=True)
    return [_beat(name, body, left) for name, body, left in pairs if body is not None]


def _beat(name: str, body: bytes, left_ms: int) -> WorkerBeat:
    values: dict[str, Any] = json.loads(body)
    return WorkerBeat(
        name=name,
        heartbeat_age=max(0.0, KEPT - left_ms / 1000),
        **{**values, "queues": tuple(values["queues"]), "held": tuple(values["held"]), "tags": tuple(values["tags"])},
    )
