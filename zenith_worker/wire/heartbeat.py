"""Heartbeats: each worker writes a small key that expires unless it is renewed.

The age of a heartbeat follows from the key's remaining life, so only Redis' clock matters: a worker whose clock is wrong does not
look dead.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

import celery
import redis

from zenith_worker.wire import worker_settings
from zenith_worker.wire.client import client, load, script
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import NATIVE, application_keys
from zenith_worker.wire.worker_settings import WorkerSettings

#: Seconds between two heartbeats.
EVERY: Final = 2.0
#: Seconds without a heartbeat after which a worker counts as offline, its tasks are given to others, and it is forgotten.
OFFLINE_AFTER: Final = 8.0
DEAD_AFTER: Final = 12.0
KEPT: Final = 300.0
#: The most queues of which a worker tells how many messages wait.
DEPTHS_AT_MOST: Final = 200
#: The most workers that are read of an application besides Zenith's own, which may write any number of names.
READ_AT_MOST: Final = 1000


class Waiting(NamedTuple):
    """Tasks of one name that wait in a worker's memory: their number, and their rate limit if they wait for that."""

    name: str
    number: int
    rate: str = ""


class Depth(NamedTuple):
    """How many messages wait in a queue of an attached application's broker."""

    queue: str
    number: int


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """A worker, as described by its newest heartbeat; an older version leaves out fields that it does not know.

    Attributes:
        pool: prefork, solo, threads, … as in Celery.
        started_at: Unix time in seconds, by the worker's clock.
        memory_bytes: resident memory of all its processes; shared memory counts for each.
        processed: tasks taken since it started.
        autoscale: the minimum and maximum number of slots, if it was started with `--autoscale`.
        withheld: queues that it will consume again once they are resumed.
        clock: Unix time in seconds of the heartbeat, by the worker's clock.
        prefetch: how many messages it prefetches, including running ones; 0 for no limit.
        limited, not_yet: tasks that it holds until a rate limit or an ETA allows them; the names with the most tasks.
        catalogue: the digest of the tasks that it can run (catalogues.py); an attached worker with one carries out commands
            (commands.py).
        guards: the guards of an attached worker, by name (zenith_worker/guards.py); a native one has none of these names.
        control: whether an attached worker obeys remote control (control.py: Ability); empty if it does not tell.
        depths: how many messages wait in the queues that an attached worker consumes, where its broker tells.
        depths_age: seconds between the count and the heartbeat; None if nothing was counted.
        watched: an observer wrote this, from what the worker tells everybody (`write_heard`).
        unknown: the fields that the worker did not tell its observer; they hold zero or nothing.
        longest_eta: seconds until the last of the tasks in `not_yet` is due.
        settings: those of Celery's that the diagnosis needs; None if it does not tell.
        sends_events: whether a watched worker sends events of tasks; None if that is not known.
        clock_ahead: how far a watched worker's clock is ahead of its observer's, in seconds.
        queue_commands: what an attached worker obeys of `pause` and `purge` (pauses.py, purges.py).
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
    catalogue: str = ""
    guards: tuple[str, ...] = ()
    control: str = ""
    depths: tuple[Depth, ...] = ()
    depths_age: float | None = None
    watched: bool = False
    unknown: tuple[str, ...] = ()
    longest_eta: float | None = None
    settings: WorkerSettings | None = None
    sends_events: bool | None = None
    clock_ahead: float | None = None
    queue_commands: tuple[str, ...] = ()

    @property
    def heartbeat_at(self) -> datetime:
        """The time of the last heartbeat, by the clock of this process; for relative times on pages."""
        return datetime.now(timezone.utc) - timedelta(seconds=self.heartbeat_age)

    @property
    def online(self) -> bool:
        """Whether the newest heartbeat is recent."""
        return self.heartbeat_age < OFFLINE_AFTER

    @property
    def dead(self) -> bool:
        """Whether the worker is taken for dead, so that its tasks go to others."""
        return self.heartbeat_age >= DEAD_AFTER


class Unreadable(NamedTuple):
    """An invalid heartbeat, and what is wrong with it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The additional fields of a worker's heartbeat; WorkerBeat explains them."""

    pool: str = ""
    started_at: float | None = None
    memory_bytes: int | None = None
    processed: int | None = None
    autoscale: tuple[int, int] | None = None
    withheld: Sequence[str] = ()
    prefetch: int | None = None
    limited: Sequence[Waiting] = ()
    not_yet: Sequence[Waiting] = ()
    catalogue: str = ""
    guards: Sequence[str] = ()
    control: str = ""
    depths: Sequence[Depth] = ()
    depths_age: float | None = None
    longest_eta: float | None = None
    settings: WorkerSettings | None = None
    queue_commands: Sequence[str] = ()


def write(
    name: str, *, slots: int, busy: int, queues: Sequence[str], held: Sequence[str] = (), tags: Sequence[str] = (),
    about: About | None = None, application: str = NATIVE,
) -> None:  # fmt: skip
    """Renew the heartbeat of the worker of an application that runs in this process. Raises redis.RedisError.

    `held` are the ids of its reserved and running tasks, `tags` the delivery tags of the messages that it will still acknowledge.
    """
    about = about or About()
    body = {
        "pid": os.getpid(), "slots": slots, "busy": busy, "queues": sorted(queues),
        "version": celery.__version__, "instance": instance(), "held": list(held),
        "tags": list(tags), "pool": about.pool, "python": platform.python_version(),
        "started_at": about.started_at, "memory_bytes": about.memory_bytes, "processed": about.processed,
        "autoscale": about.autoscale, "withheld": sorted(about.withheld), "clock": time.time(),
        "prefetch": about.prefetch, "limited": about.limited, "not_yet": about.not_yet, "catalogue": about.catalogue,
        "guards": list(about.guards), "control": about.control, "depths": list(about.depths), "depths_age": about.depths_age,
        "longest_eta": about.longest_eta, "settings": worker_settings.as_json(about.settings) if about.settings else None,
        "queue_commands": list(about.queue_commands),
    }  # fmt: skip
    keys = application_keys(application)
    with client().pipeline(transaction=True) as pipe:
        pipe.sadd(keys.workers, name)
        pipe.set(keys.worker + name, json.dumps(body), px=int(KEPT * 1000))
        pipe.set(keys.alive + instance(), name, px=int(DEAD_AFTER * 1000))
        pipe.execute()


class Heard(NamedTuple):
    """What an observer knows of a worker: its name, its heartbeat's fields, and how many seconds ago it was heard."""

    name: str
    body: dict[str, Any]
    age: float


def write_heard(workers: Iterable[Heard], application: str) -> None:
    """Renew the heartbeats of a watched application's workers, as far as their observer knows them. Raises redis.RedisError."""
    keys = application_keys(application)
    with client().pipeline(transaction=False) as pipe:
        for worker in workers:
            left = KEPT - worker.age
            if left > 0:
                body = {"tags": [], "instance": "", "version": "", **worker.body, "watched": True}
                pipe.sadd(keys.workers, worker.name)
                pipe.set(keys.worker + worker.name, json.dumps(body), px=int(left * 1000))
        pipe.execute()


def forget_heard(name: str, application: str) -> None:
    """Remove a worker of a watched application that said that it shuts down. Raises redis.RedisError."""
    keys = application_keys(application)
    with client().pipeline(transaction=True) as pipe:
        pipe.srem(keys.workers, name)
        pipe.delete(keys.worker + name)
        pipe.execute()


def forget(name: str, application: str = NATIVE) -> None:
    """Remove a worker that shut down. Raises redis.RedisError."""
    keys = application_keys(application)
    with client().pipeline(transaction=True) as pipe:
        pipe.srem(keys.workers, name)
        pipe.delete(keys.worker + name, keys.alive + instance())
        pipe.execute()


def is_alive(run: str, application: str = NATIVE) -> bool:
    """Return whether a run of a worker (instance.py) lives. Raises redis.RedisError."""
    return bool(client().exists(application_keys(application).alive + run))


_DROP: Final = load("worker_drop")


def read_all(application: str = NATIVE) -> list[WorkerBeat]:
    """Return an application's workers with a recent heartbeat, by name, without unreadable ones. Raises redis.RedisError."""
    return read_several([application])[application]


def read_several(applications: Iterable[str]) -> dict[str, list[WorkerBeat]]:
    """Return what `read_all` does for each of these applications, in two round trips. Raises redis.RedisError."""
    return {name: [beat for beat in beats if isinstance(beat, WorkerBeat)] for name, beats in _read(list(applications)).items()}


def unreadable() -> list[Unreadable]:
    """Return the heartbeats of Zenith's own workers that cannot be read, by name. Raises redis.RedisError."""
    return [beat for beat in _read([NATIVE])[NATIVE] if isinstance(beat, Unreadable)]


def _read(applications: Sequence[str]) -> dict[str, list[WorkerBeat | Unreadable]]:
    beats: dict[str, list[WorkerBeat | Unreadable]] = {application: [] for application in applications}
    entries = _names(applications)
    if not entries:
        return beats
    with client().pipeline(transaction=False) as pipe:
        for application, name in entries:
            key = application_keys(application).worker.encode() + name
            pipe.get(key)
            pipe.pttl(key)
        answers = pipe.execute(raise_on_error=False)
    for (application, name), body, left in zip(entries, answers[::2], answers[1::2]):
        if body is None:
            keys = application_keys(application)
            script(_DROP, keys.workers, name, keys.worker.encode() + name)
        else:
            beats[application].append(_beat(name, body, left))
    return beats


def _names(applications: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return the workers' names with their application, by name. An application that keeps something else there has none."""
    with client().pipeline(transaction=False) as pipe:
        for application in applications:
            workers = application_keys(application).workers
            if application == NATIVE:
                pipe.smembers(workers)
            else:
                pipe.srandmember(workers, READ_AT_MOST)
        answers = pipe.execute(raise_on_error=False)
    names: list[tuple[str, bytes]] = []
    for application, answer in zip(applications, answers):
        if isinstance(answer, redis.ResponseError):
            if application == NATIVE:
                raise answer
            continue
        # Bytes or text, depending on the protocol.
        names += sorted((application, name if isinstance(name, bytes) else name.encode()) for name in answer)
    return names


def _beat(name: bytes, body: Any, left_ms: Any) -> WorkerBeat | Unreadable:
    """Return a heartbeat, checked like everything that other processes write."""
    try:
        if isinstance(body, redis.ResponseError):
            raise TypeError(str(body))
        values = json.loads(body)
        # A worker of another version may send more fields, or fewer.
        members = {member: check(values[member]) for member, check in _MEMBERS.items() if values.get(member) is not None}
        return WorkerBeat(name=_text(name.decode()), heartbeat_age=max(0.0, KEPT - left_ms / 1000), **members)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return Unreadable(name.decode(errors="replace").replace("\x00", "\ufffd"), f"{type(error).__name__}: {error}"[:200])


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.50} is not text")
    if "\x00" in value:
        raise ValueError("NUL characters cannot be stored")
    value.encode()
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _BEYOND:
        raise TypeError(f"{value!r:.50} is not a count")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{value!r:.50} is neither true nor false")
    return value


def _moment(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < _BEYOND:
        raise TypeError(f"{value!r:.50} is not a time")
    return float(value)


def _difference(value: Any) -> float:
    if type(value) not in (int, float) or not -_BEYOND < value < _BEYOND:
        raise TypeError(f"{value!r:.50} is not a difference of times")
    return float(value)


def _texts(value: Any) -> tuple[str, ...]:
    """Return a list's texts, without those that PostgreSQL cannot store: one invalid name must not hide the others."""
    texts = _listed(value)
    if not all(type(item) is str for item in texts):
        raise TypeError(f"{value!r:.50} is not a list of texts")
    return tuple(filter(_is_storable, texts))


def _is_storable(item: str) -> bool:
    try:
        _text(item)
    except ValueError:
        return False
    return True


def _listed(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(f"{value!r:.50} is not a list")
    return value


def _range(value: Any) -> tuple[int, int]:
    fewest, most = map(_count, _listed(value))
    return fewest, most


def _waiting(value: Any) -> tuple[Waiting, ...]:
    return tuple(Waiting(_text(name), _count(number), *map(_text, rate)) for name, number, *rate in map(_listed, _listed(value)))


def _depths(value: Any) -> tuple[Depth, ...]:
    """Return what can be read of a list of depths: one that is odd must not hide the others, nor the worker."""
    pairs = [pair for pair in _listed(value)[:DEPTHS_AT_MOST] if type(pair) is list and len(pair) == 2]
    return tuple(
        Depth(queue, number) for queue, number in pairs
        if type(queue) is str and _is_storable(queue) and type(number) is int and 0 <= number < _BEYOND
    )  # fmt: skip


#: Greater than every valid count and time; also excludes NaN and infinities.
_BEYOND: Final = 2**53
_MEMBERS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("version", "instance", "pool", "python", "catalogue", "control"), _text),
    **dict.fromkeys(("pid", "slots", "busy", "memory_bytes", "processed", "prefetch"), _count),
    **dict.fromkeys(("started_at", "clock", "depths_age", "longest_eta"), _moment),
    **dict.fromkeys(("queues", "held", "tags", "withheld", "guards", "unknown", "queue_commands"), _texts),
    **dict.fromkeys(("limited", "not_yet"), _waiting),
    "autoscale": _range,
    "depths": _depths,
    **dict.fromkeys(("watched", "sends_events"), _flag),
    "clock_ahead": _difference,
    "settings": worker_settings.read,
}
