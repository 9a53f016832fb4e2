"""Decides, before a body runs, whether this delivery of the task should run it.

The task's class calls this first (task.py). It lets the body run, or ends this delivery with one of Celery's own exceptions:
`Ignore` (acknowledged, nothing stored) for a copy that is not needed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from celery import Task, states

from zenith_worker.carried import carried, token_of
from zenith_worker.errors import NotNow, NotThisDelivery, PoisonTaskError
from zenith_worker.origin import origin
from zenith_worker.reporting import with_redis_retries
from zenith_worker.wire import claims
from zenith_worker.wire.claims import Verdict
from zenith_worker.wire.deliveries import last_crash, mark_reached
from zenith_worker.wire.events import Event
from zenith_worker.wire.headers import COPIES_HEADER, DISPATCHED_HEADER, PERHAPS_SENT
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import append

logger = logging.getLogger(__name__)

#: How many processes a task may kill before it becomes a dead letter.
MAX_CRASHES: Final = 3


def admit(task: Task[..., Any], ended_before: Callable[[str], bool]) -> None:
    """Let the running request's body run, or raise.

    `ended_before` tells, for a delivery that may be a copy, whether the task ended before it.

    Raises NotThisDelivery if another delivery runs or ran the task, or if it was cancelled; Reject if that is unknown at the
    moment; PoisonTaskError if the task killed its process too often.
    """
    request = task.request
    if carried(request).number:
        with_redis_retries(lambda: mark_reached(request.id, RunNumber.of_request(request)))
    if _may_be_a_copy(request) and ended_before(request.id):
        logger.warning("Task %s was delivered again after its end. It does not run again.", request.id)
        _return_part_again(task)
        raise NotThisDelivery
    token = token_of(request)
    claim = with_redis_retries(lambda: claims.begin(request.id, run=RunNumber.of_request(request), token=token))
    if claim.verdict == Verdict.CANCELLED:
        with_redis_retries(lambda: append([_revoked(request)]))
    if claim.verdict == Verdict.ENDED:
        _return_part_again(task)
    if claim.verdict != Verdict.RUN:
        logger.warning("A delivery of task %s was dropped: %s.", request.id, claim.verdict.value)
        raise NotThisDelivery
    if not task.acks_late:
        with_redis_retries(lambda: append([_started(request)]))
    if claim.crashes >= MAX_CRASHES:
        reason = last_crash(request.id)
        raise PoisonTaskError(
            f"its worker process died {claim.crashes} times while running it" + (f"; last: {reason}" if reason else "")
        )


#: Seconds between two checks whether a chord's body was sent, and after which the message goes back to its queue.
_CHORD_LOOK_EVERY: Final = 1.0
_CHORD_PATIENCE: Final = 60.0


def _return_part_again(task: Task[..., Any]) -> None:
    """Return an ended task's part of its chord again: its worker may have died after its report and before it did so.

    The message stays unacknowledged until the chord's body was sent or waits for other parts: the worker that sends it holds a
    lease of some seconds (Celery's `.c` key), and may have died, too. Raises Reject, which puts the message back into its queue,
    if that takes too long.
    """
    request, backend = task.request, task.backend
    if not (request.chord and request.group):
        return
    meta = backend.get_task_meta(request.id, cache=False)
    if meta["status"] not in states.READY_STATES:
        return  # the result has expired, and so has the chord
    deadline = time.monotonic() + _CHORD_PATIENCE
    while time.monotonic() < deadline:
        backend.on_chord_part_return(request, meta["status"], meta["result"])
        if not backend.sends_chord_body(request.group):
            return
        time.sleep(_CHORD_LOOK_EVERY)
    raise NotNow(f"another worker has been sending the chord {request.group} for too long", requeue=True)


def _may_be_a_copy(request: Any) -> bool:
    """Return whether the task may have run by another message than this.

    A claim remembers an end only for minutes (claims.py), and a copy may wait in its queue for longer. Copies exist of messages
    that were delivered before or that a relay sent, and of retries, whose message is sent before the failed attempt is
    acknowledged.
    """
    copied = getattr(request, DISPATCHED_HEADER, 0) == PERHAPS_SENT or getattr(request, COPIES_HEADER, None)
    return bool(carried(request).number or request.retries or copied)


def _started(request: Any) -> Event:
    """Return the start of a task that must never run again: it is reported before the body can do anything."""
    return Event(
        task_id=request.id, status=Status.STARTED, at=time.time(), **RunNumber.of_request(request)._asdict(),
        delivery=carried(request).number, worker=request.hostname or "", received_at=carried(request).received_at, early=True,
        **origin(request),
    )  # fmt: skip


def _revoked(request: Any) -> Event:
    return Event(
        task_id=request.id, status=Status.REVOKED, at=time.time(), **RunNumber.of_request(request)._asdict(),
        delivery=carried(request).number, worker=request.hostname or "", received_at=carried(request).received_at,
        message="refused by its worker: it was cancelled",
    )  # fmt: skip
