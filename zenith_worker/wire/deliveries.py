"""Deliveries: how often a task's message came, and what its process died of the last time."""

import time
from typing import Any, Final

import redis

from zenith_worker.wire.client import client, command, text
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import CRASH, DELIVERIES, LOST
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

#: How often one message may be delivered without its body coming to an end, where neither its task nor a setting says another.
MAX_DELIVERIES: Final = 20
#: Seconds.
_KEPT: Final = 7 * 24 * 3600


def most_deliveries(task: Any) -> int:
    """Return that bound for a task of Celery's, an instance or its class: its own, else that of the application's settings."""
    own = getattr(task, "max_deliveries", None)
    return int(own if own is not None else getattr(task.app.conf, "zenith_max_deliveries", MAX_DELIVERIES))


def count_delivery(task_id: str, run: RunNumber) -> int:
    """Count one more delivery of this run and return its number; 1 where Redis cannot tell.

    The first delivery is number 0 and is not counted: a message that comes again is marked so.
    """
    key = _deliveries(task_id, run)
    try:
        with client().pipeline(transaction=True) as pipe:
            pipe.incr(key)
            pipe.expire(key, _KEPT)
            return int(pipe.execute()[0])
    except redis.RedisError:
        return 1


def next_delivery(task_id: str, run: RunNumber) -> int:
    """Return the number that the next delivery of this run will have. Raises redis.RedisError."""
    return int(command("GET", _deliveries(task_id, run)) or 0) + 1


def put_back(task_id: str, run: RunNumber, reason: str) -> Event:
    """Return the step of a task whose message went back to its queue. Raises redis.RedisError."""
    return Event(
        task_id=task_id, status=Status.QUEUED, at=time.time(), nesting=run.nesting, attempt=run.attempt,
        delivery=next_delivery(task_id, run), message=reason,
    )  # fmt: skip


def note_lost(task_id: str, run: RunNumber) -> None:
    """Count that a message was lost with whoever had taken it. Raises redis.RedisError."""
    with client().pipeline(transaction=True) as pipe:
        pipe.incr(_lost(task_id, run))
        pipe.expire(_lost(task_id, run), _KEPT)
        pipe.execute()


def lost(task_id: str, run: RunNumber) -> int:
    """Return how often that happened without the body of this run being reached. Raises redis.RedisError."""
    return int(command("GET", _lost(task_id, run)) or 0)


def reached(task_id: str, run: RunNumber) -> None:
    """Note that a process got as far as the body: from here on crashes are counted with the claim. Raises redis.RedisError."""
    command("DEL", _lost(task_id, run))


def note_crash(task_id: str, reason: str) -> None:
    """Keep what the task's process died of. Raises redis.RedisError."""
    command("SET", CRASH + task_id, reason, "EX", _KEPT)


def last_crash(task_id: str) -> str:
    """Return what the task's process died of the last time, if anyone saw it."""
    try:
        return text(command("GET", CRASH + task_id) or "")
    except redis.RedisError:
        return ""


def _lost(task_id: str, run: RunNumber) -> str:
    return f"{LOST}{task_id}:{run.number}"


def _deliveries(task_id: str, run: RunNumber) -> str:
    return f"{DELIVERIES}{task_id}:{run.number}"
