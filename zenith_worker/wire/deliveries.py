"""Deliveries: how often a task's message came, and what its process died of the last time."""

import time
from typing import Final

import redis

from zenith_worker.wire.client import client, command, text
from zenith_worker.wire.keys import CRASH, DELIVERIES
from zenith_worker.wire.runs import Run
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Event

#: How often one message may be delivered without its body coming to an end, where its task says nothing else.
MAX_DELIVERIES: Final = 20
#: Seconds.
_KEPT: Final = 7 * 24 * 3600


def count_delivery(task_id: str, run: Run) -> int:
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


def next_delivery(task_id: str, run: Run) -> int:
    """Return the number that the next delivery of this run will have. Raises redis.RedisError."""
    return int(command("GET", _deliveries(task_id, run)) or 0) + 1


def put_back(task_id: str, run: Run, reason: str) -> Event:
    """Return the step of a task whose message went back to its queue. Raises redis.RedisError."""
    return Event(
        task_id=task_id, status=Status.QUEUED, at=time.time(), nesting=run.nesting, attempt=run.attempt,
        delivery=next_delivery(task_id, run), message=reason,
    )  # fmt: skip


def note_crash(task_id: str, reason: str) -> None:
    """Keep what the task's process died of. Raises redis.RedisError."""
    command("SET", CRASH + task_id, reason, "EX", _KEPT)


def last_crash(task_id: str) -> str:
    """Return what the task's process died of the last time, if anyone saw it."""
    try:
        return text(command("GET", CRASH + task_id) or "")
    except redis.RedisError:
        return ""


def _deliveries(task_id: str, run: Run) -> str:
    return f"{DELIVERIES}{task_id}:{run.number}"
