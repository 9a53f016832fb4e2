"""Records tasks whose process died, and tasks that a stopping worker hands back."""

from __future__ import annotations

import logging
import time
from typing import Any

import celery
import redis
from billiard.exceptions import WorkerLostError
from celery.worker import state as worker_state
from celery.worker.request import Request

from zenith_worker import out_of_memory
from zenith_worker.carried import carried
from zenith_worker.reporting import with_redis_retries
from zenith_worker.wire import claims
from zenith_worker.wire.deliveries import count_lost, put_back, record_crash
from zenith_worker.wire.events import Event
from zenith_worker.wire.instance import instance
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import append

logger = logging.getLogger(__name__)


class CrashNoting:
    """In front of a class of Celery's requests: records why a lost process died before its message is put back."""

    def on_failure(self, exc_info: Any, *rest: Any, **options: Any) -> None:
        """Record the exit signal or status of a lost process; everything else is Celery's."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        task = self.task  # type: ignore[attr-defined]
        if _is_lost(self, error) and task.acks_late and task.reject_on_worker_lost and not _is_sent_anew(self):
            _note_crash(self, "; ".join(filter(None, [str(error), out_of_memory.explain(str(error))])))
        super().on_failure(exc_info, *rest, **options)  # type: ignore[misc]


class CrashNotingRequest(CrashNoting, Request):
    """Celery's request for Zenith's own tasks."""

    @property
    def store_errors(self) -> bool:
        """Whether Celery calls the backend for errors: always, since every outcome is reported; it decides what is stored."""
        return True

    def _success_was_stored(self) -> bool:
        """Let the message of a task whose process died after its success go back, which Celery 5.7 acknowledges.

        The process may have died before it returned the task's part of a chord: the next delivery does that (admission.py).
        """
        return False

    def _announce_cancelled(self, emit_retry: bool = True) -> None:
        """Hand back a task that a stopping worker interrupts; Celery would report a retry, which it is not."""
        hand_back(self.id, RunNumber.of(self.request_dict))
        super()._announce_cancelled(emit_retry=False)


class ClaimReleasing(CrashNoting):
    """In front of a class of requests of an attached application's claimed tasks."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Release a task whose hard time limit puts its message back (`acks_on_timeout`, Celery 5.7): that is not its end."""
        task = self.task  # type: ignore[attr-defined]
        goes_back = not soft and celery.VERSION >= (5, 7) and task.acks_late and not task.acks_on_timeout
        carried(self._context).was_put_back = goes_back  # type: ignore[attr-defined]
        super().on_timeout(soft, timeout)  # type: ignore[misc]
        if goes_back:
            hand_back(self.id, RunNumber.of(self.request_dict), f"it hit its time limit of {timeout} s")  # type: ignore[attr-defined]

    def _announce_cancelled(self, *rest: Any, **options: Any) -> None:
        """Release a task that a worker interrupts because it lost its connection: Celery calls that a retry, but sends none."""
        carried(self._context).was_cancelled = True  # type: ignore[attr-defined]
        super()._announce_cancelled(*rest, **options)  # type: ignore[misc]
        hand_back(self.id, RunNumber.of(self.request_dict))  # type: ignore[attr-defined]


def _is_lost(request: Any, error: BaseException) -> bool:
    """Return whether an error is the end of a process, which Celery 5.7 may hear of before the process has gone."""
    if isinstance(error, (SystemExit, KeyboardInterrupt)) and celery.VERSION >= (5, 7):
        return not (request._already_cancelled or request._already_revoked)
    return isinstance(error, WorkerLostError)


def _is_sent_anew(request: Any) -> bool:
    """Return whether Celery 5.7 sends the task's next attempt, and acknowledges the lost one's message."""
    task = request.task
    most = task.max_retries
    return bool(getattr(task, "retry_on_worker_lost", False)) and (most is None or request._context.retries < most)


def _started(request: Any, run: RunNumber) -> Event:
    """Return the start of the run: the process may have died before it was reported."""
    delivery = carried(request)
    return Event(
        task_id=request.id, status=Status.STARTED, at=request.time_start or delivery.received_at or time.time(), **run._asdict(),
        delivery=delivery.number, worker=request.hostname, received_at=delivery.received_at,
    )  # fmt: skip


def hand_back(task_id: str, run: RunNumber, why: str = "its worker was stopped and handed it back") -> None:
    """Release a task that a stopping worker interrupts, so that this does not count as a crash."""
    try:
        if with_redis_retries(lambda: claims.release(task_id, run), patience=0.0):
            append([put_back(task_id, run, why)])
    except redis.RedisError as error:
        logger.warning("Could not hand back task %s: %s", task_id, error)


def hand_back_reserved() -> None:
    """Hand back all that this worker holds at its end. Nothing comes again of what was acknowledged when it started."""
    for request in list(worker_state.reserved_requests):
        if not request.acknowledged:
            hand_back(request.id, RunNumber.of(request.request_dict))


def _note_crash(request: Any, reason: str) -> None:
    run = RunNumber.of(request.request_dict)
    try:
        # Before the message is put back: another worker would refuse it while this one seems to run it.
        if not with_redis_retries(lambda: claims.abandon(request.id, run, instance()), patience=30.0):
            return  # it died between its report and the acknowledgement, so nothing is left to run
        record_crash(request.id, reason)
        count_lost(request.id, run)
        back = put_back(request.id, run, f"its process died ({reason}); the message went back to its queue")
        append([_started(request, run), back])
    except redis.RedisError:
        return  # the task is delivered again anyway
