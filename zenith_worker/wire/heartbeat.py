"""Which workers are alive: each writes a small key that runs out unless it is renewed.

The age of a heartbeat is read from the key's remaining life, so it is measured by Redis' clock
alone: a worker whose clock is wrong does not look dead.
"""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import celery

from zenith_worker.wire.client import client, load, script, text
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import ALIVE, WORKER, WORKERS

#: Seconds between two heartbeats, after which a worker counts as offline, and is forgotten.
EVERY: Final = 2.0
OFFLINE_AFTER: Final = 8.0
#: Seconds without a heartbeat after which a worker's tasks are given to others.
DEAD_AFTER: Final = 12.0
KEPT: Final = 300.0


class Waiting(NamedTuple):
    """A kind of tasks that wait in a worker's memory, how many there are, and their rate limit where they wait for that."""

    name: str
    number: int
    rate: str = ""


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """A worker as its newest heartbeat describes it; one of an older version leaves out what it does not know.

    Attributes:
        pool: prefork, solo, threads, … as Celery names it.
        started_at: Unix time in seconds, by the worker's clock.
        memory_bytes: resident memory of all its processes; what they share counts for each.
        processed: tasks taken since it started.
        autoscale: the fewest and the most slots, where it was started with `--autoscale`.
        withheld: queues that it will consume again once they are not paused any more.
        clock: Unix time in seconds when it beat, by its own clock.
        prefetch: how many messages it takes at once, those that run included; 0 for as many as there are.
        limited, not_yet: what it holds that waits for a rate limit, and for an ETA; the kinds with the most tasks.
    """

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
    pool: str = ""
    python: str = ""
    started_at: float | None = None
    memory_bytes: int | None = None
    processed: int | None = None
    autoscale: tuple[int, int] | None = None
    withheld: tuple[str, ...] = ()
    clock: float | None = None
    prefetch: int | None = None
    limited: tuple[Waiting, ...] = ()
    not_yet: tuple[Waiting, ...] = ()

    @property
    def heartbeat_at(self) -> datetime:
        """When it last beat, by the clock of the process that asks; for pages that tick."""
        return datetime.now(UTC) - timedelta(seconds=self.heartbeat_age)

    @property
    def online(self) -> bool:
        """Whether the newest heartbeat is recent."""
        return self.heartbeat_age < OFFLINE_AFTER

    @property
    def dead(self) -> bool:
        """Whether it is gone for good as far as anybody can tell: its tasks go to others."""
        return self.heartbeat_age >= DEAD_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a worker tells of itself beside what it does; WorkerBeat explains the members."""

    pool: str = ""
    started_at: float | None = None
    memory_bytes: int | None = None
    processed: int | None = None
    autoscale: tuple[int, int] | None = None
    withheld: Sequence[str] = ()
    prefetch: int | None = None
    limited: Sequence[Waiting] = ()
    not_yet: Sequence[Waiting] = ()


def write(
    name: str, *, slots: int, busy: int, queues: Sequence[str], held: Sequence[str] = (), tags: Sequence[str] = (),
    about: About | None = None,
) -> None:  # fmt: skip
    """Renew the heartbeat of the worker that runs in this process. Raises redis.RedisError.

    `held` are the ids of the tasks that it has reserved or runs, `tags` the delivery tags of the
    messages that it will still acknowledge.
    """
    about = about or About()
    body = {
        "pid": os.getpid(), "slots": slots, "busy": busy, "queues": sorted(queues),
        "version": celery.__version__, "instance": instance(), "held": list(held),
        "tags": list(tags), "pool": about.pool, "python": platform.python_version(),
        "started_at": about.started_at, "memory_bytes": about.memory_bytes, "processed": about.processed,
        "autoscale": about.autoscale, "withheld": sorted(about.withheld), "clock": time.time(),
        "prefetch": about.prefetch, "limited": about.limited, "not_yet": about.not_yet,
    }  # fmt: skip
    with client().pipeline(transaction=True) as pipe:
        pipe.sadd(WORKERS, name)
        pipe.set(WORKER + name, json.dumps(body), px=int(KEPT * 1000))
        pipe.set(ALIVE + instance(), name, px=int(DEAD_AFTER * 1000))
        pipe.execute()


def forget(name: str) -> None:
    """Remove a worker that stopped on purpose. Raises redis.RedisError."""
    with client().pipeline(transaction=True) as pipe:
        pipe.srem(WORKERS, name)
        pipe.delete(WORKER + name, ALIVE + instance())
        pipe.execute()


_DROP: Final = load("worker_drop")


def read_all() -> list[WorkerBeat]:
    """Return every worker heard of lately, by name. Raises redis.RedisError."""
    names = sorted(text(name) for name in client().smembers(WORKERS))
    if not names:
        return []
    with client().pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(WORKER + name)
            pipe.pttl(WORKER + name)
        answers = pipe.execute()
    pairs = list(zip(names, answers[::2], answers[1::2], strict=True))
    for name in (name for name, body, _ in pairs if body is None):
        script(_DROP, WORKERS, name, WORKER + name)
    return [_beat(name, body, left) for name, body, left in pairs if body is not None]


_MEMBERS: Final = {item.name for item in fields(WorkerBeat)} - {"name", "heartbeat_age"}


def _beat(name: str, body: bytes, left_ms: int) -> WorkerBeat:
    values: dict[str, Any] = json.loads(body)
    # A worker of another version may know more, or less.
    known: dict[str, Any] = {
        member: tuple(value) if isinstance(value, list) else value for member, value in values.items() if member in _MEMBERS
    }
    for member in ("limited", "not_yet"):
        known[member] = tuple(Waiting(*kind) for kind in known.get(member, ()))
    return WorkerBeat(name=name, heartbeat_age=max(0.0, KEPT - left_ms / 1000), **known)
