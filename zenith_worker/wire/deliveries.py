"""Deliveries: how often a task's message was delivered, and why its process died the last time."""

from __future__ import annotations

import time
from typing import Any, Final

import redis

from zenith_worker.wire.client import client, command, text
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import own_keys
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

#: How often one message may be delivered without its body ending, unless its task or a setting says otherwise.
MAX_DELIVERIES: Final = 20
#: Seconds.
_KEPT: Final = 7 * 24 * 3600


def delivery_limit(task: Any) -> int:
    """Return that limit for a Celery task, an instance or its class: its own, or that of the application's settings."""
    own = getattr(task, "max_deliveries", None)
    return int(own if own is not None else getattr(task.app.conf, "zenith_max_deliveries", MAX_DELIVERIES))


def count_delivery(task_id: str, run: RunNumber) -> int:
    """Count one more delivery of this run and return its number; 1 if Redis does not answer.

    The first delivery is number 0 and is not counted: a message that is delivered again is marked as such.
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


def count_lost(task_id: str, run: RunNumber) -> None:
    """Count a message that was lost with the process that had taken it. Raises redis.RedisError."""
    with client().pipeline(transaction=True) as pipe:
        pipe.incr(_lost(task_id, run))
        pipe.expire(_lost(task_id, run), _KEPT)
        pipe.execute()


def lost_count(task_id: str, run: RunNumber) -> int:
    """Return how often this run's message was lost before its body started. Raises redis.RedisError."""
    return int(command("GET", _lost(task_id, run)) or 0)


def mark_reached(task_id: str, run: RunNumber) -> None:
    """Record that a process reached the body: from here on the claim counts crashes. Raises redis.RedisError."""
    command("DEL", _lost(task_id, run))


def record_crash(task_id: str, reason: str) -> None:
    """Store why the task's process died. Raises redis.RedisError."""
    command("SET", own_keys().crash + task_id, reason, "EX", _KEPT)


def last_crash(task_id: str) -> str:
    """Return why the task's process died the last time, if that is known."""
    try:
        return text(command("GET", own_keys().crash + task_id) or "")
    except redis.RedisError:
        return ""


def _lost(task_id: str, run: RunNumber) -> str:
    return f"{own_keys().lost}{task_id}:{run.number}"


def _deliveries(task_id: str, run: RunNumber) -> str:
    return f"{own_keys().deliveries}{task_id}:{run.number}"
