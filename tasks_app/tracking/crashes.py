"""Deliveries and crashes: how often a task's message came, and what its process died of."""

import logging
import time
from typing import Any, Final

import redis
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request

from tasks_app.broker import instance
from tasks_app.states import Status
from tasks_app.tracking import claims
from tasks_app.tracking.line import client, command, text
from tasks_app.tracking.outcome import surely
from tasks_app.tracking.stream import Event, append

logger = logging.getLogger(__name__)

_DELIVERIES: Final = "zenith:deliveries:"
_CRASH: Final = "zenith:crash:"
_KEPT: Final = 7 * 24 * 3600


class CrashNotingRequest(Request):
    """Celery's request, which notes what a lost process died of before the message is put back."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Note the exit signal or status of a lost process; everything else is Celery's."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            _note_crash(self, str(error))
        super().on_failure(exc_info, send_failed_event, return_ok)

    def _announce_cancelled(self, emit_retry: bool = True) -> None:
        """Hand back what a stopping worker cuts short; Celery may call that a retry, which it is not."""
        hand_back(self.id, self.request_dict.get("retries") or 0)
        super()._announce_cancelled(emit_retry=False)


def count_delivery(task_id: str, attempt: int) -> int:
    """Count one more delivery of this attempt and return its number; 1 where Redis cannot tell.

    The first delivery is number 0 and is not counted: a message that comes again is marked so.
    """
    key = _deliveries(task_id, attempt)
    try:
        with client().pipeline(transaction=True) as pipe:
            pipe.incr(key)
            pipe.expire(key, _KEPT)
            return int(pipe.execute()[0])
    except redis.RedisError:
        return 1


def next_delivery(task_id: str, attempt: int) -> int:
    """Return the number that the next delivery of this attempt will have. Raises redis.RedisError."""
    return int(command("GET", _deliveries(task_id, attempt)) or 0) + 1


def put_back(task_id: str, attempt: int, reason: str) -> Event:
    """Return the step of a task whose message went back to its queue. Raises redis.RedisError."""
    return Event(
        task_id=task_id, status=Status.QUEUED, at=time.time(), attempt=attempt,
        delivery=next_delivery(task_id, attempt), message=reason,
    )  # fmt: skip


def hand_back(task_id: str, attempt: int) -> None:
    """Let go of a task that a stopping worker cuts short: its interruption does not count as a crash."""
    try:
        if claims.release(task_id, attempt):
            append([put_back(task_id, attempt, "its worker was stopped and handed it back")])
    except redis.RedisError as error:
        logger.warning("Could not hand back task %s: %s", task_id, error)


def last_crash(task_id: str) -> str:
    """Return what the task's process died of the last time, if anyone saw it."""
    try:
        return text(command("GET", _CRASH + task_id) or "")
    except redis.RedisError:
        return ""


def _note_crash(request: Request, reason: str) -> None:
    attempt = request.request_dict.get("retries") or 0
    try:
        # Before the message is put back: another worker would refuse it as long as this one seems to run it.
        if not surely(lambda: claims.abandon(request.id, attempt, instance()), patience=30.0):
            return  # it died between its report and the acknowledgement: nothing is left to run
        command("SET", _CRASH + request.id, reason, "EX", _KEPT)
        append([put_back(request.id, attempt, f"its process died ({reason}); the message went back to its queue")])
    except redis.RedisError:
        return  # the task is delivered again all the same


def _deliveries(task_id: str, attempt: int) -> str:
    return f"{_DELIVERIES}{task_id}:{attempt}"
