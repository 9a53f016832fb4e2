"""Decides, before a body runs, whether this delivery of the task should run it.

The task's class calls this first (task.py). It lets the body run, or ends this delivery with one of Celery's own exceptions:
`Ignore` (acknowledged, nothing stored) for a copy that is not needed, `Reject` for a message that must stay.
"""

from __future__ import annotations

import logging
import math
import time
from functools import cache
from typing import Any, Final, NoReturn

import redis
from celery import Celery, Task, states
from celery.exceptions import SoftTimeLimitExceeded

from zenith_worker.carried import carried, is_same_message, token_of
from zenith_worker.errors import NotNow, NotThisDelivery, PoisonTaskError
from zenith_worker.origin import origin
from zenith_worker.reporting import AWAY_FOR, is_away, never_waits, note_away, pause, with_redis_retries
from zenith_worker.wire import claims
from zenith_worker.wire.claims import Claim, Verdict
from zenith_worker.wire.deliveries import last_crash, mark_reached
from zenith_worker.wire.events import Event
from zenith_worker.wire.headers import COPIES_HEADER, DISPATCHED_HEADER, PERHAPS_SENT
from zenith_worker.wire.keys import NATIVE, own_application
from zenith_worker.wire.questions import Kind, NobodyAnswersError, ask
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import append

logger = logging.getLogger(__name__)

#: How many processes a task may kill before it becomes a dead letter.
MAX_CRASHES: Final = 3
#: Seconds to wait before a message goes back to its queue.
REQUEUE_AFTER: Final = 2.0


def admit(task: Task[..., Any]) -> None:
    """Let the running request's body run, or raise.

    Raises NotThisDelivery if another delivery runs or ran the task, or if it was cancelled; NotNow if that is unknown at the
    moment, or if the broker delivered the message again while another delivery runs; PoisonTaskError if the task killed its
    process too often. In a process that never waits for Redis, the body runs unclaimed while that is away.
    """
    request = task.request
    try:
        claim = _claim(task)
    except redis.RedisError as error:
        # Only in a process that does not wait for Redis.
        logger.info("Task %s runs unclaimed: %s", request.id, error)
        return
    if claim.verdict != Verdict.RUN:
        # An error in here is the application's, whose results may be in another Redis.
        _refuse(task, claim)
    carried(request).lease_until = time.monotonic() + claim.lease
    if not task.acks_late and own_application() == NATIVE:
        with_redis_retries(lambda: append([_started(request)]))
    if claim.crashes >= MAX_CRASHES:
        reason = last_crash(request.id)
        raise PoisonTaskError(
            f"its worker process died {claim.crashes} times while running it" + (f"; last: {reason}" if reason else "")
        )


def _claim(task: Task[..., Any]) -> Claim:
    """Claim the running request's task, if it has not ended before."""
    request = task.request
    if carried(request).number:
        with_redis_retries(lambda: mark_reached(request.id, RunNumber.of_request(request)))
    if _may_be_a_copy(request) and _ended_before(request.id, waits=not task.acks_late):
        logger.warning("Task %s was delivered again after its end. It does not run again.", request.id)
        return Claim(Verdict.ENDED)
    token = token_of(request)
    return with_redis_retries(lambda: claims.begin(request.id, run=RunNumber.of_request(request), token=token))


def _refuse(task: Task[..., Any], claim: Claim) -> NoReturn:
    """End a delivery that must not run. Raises NotThisDelivery or NotNow."""
    request, verdict = task.request, claim.verdict
    if verdict == Verdict.TAKEN and task.acks_late and _may_be_the_only_one(task, claim):
        logger.warning("A delivery of task %s goes back to its queue: another one is running it.", request.id)
        pause(REQUEUE_AFTER)
        raise NotNow("another delivery is running it", requeue=True)
    if verdict == Verdict.CANCELLED:
        _revoke(task)
    if verdict == Verdict.ENDED:
        _return_part_again(task)
    logger.warning("A delivery of task %s was dropped: %s.", request.id, verdict.value)
    raise NotThisDelivery


def _may_be_the_only_one(task: Task[..., Any], claim: Claim) -> bool:
    """Return whether the broker may have no other message of this task than that of this delivery.

    It delivered the message again, and has perhaps forgotten the delivery that runs. Or that one is the later delivery of the
    same message: kombu's Redis transport keeps one note for both, which the first acknowledgement removes. Some brokers, such as
    SQS, do not tell that they delivered a message before.
    """
    request = task.request
    return bool(carried(request).number) or is_same_message(claim.holder, token_of(request)) or not _tells_redelivery(task.app)


@cache
def _tells_redelivery(app: Celery) -> bool:
    """Return whether an application's broker marks messages that it delivers again."""
    return app.connection_for_read().get_transport_cls().driver_type in ("redis", "amqp")


def _revoke(task: Task[..., Any]) -> None:
    """Report a cancelled task; an attached application's callers and chords learn it from its own backend, as from Celery."""
    request = task.request
    if own_application() == NATIVE:
        with_redis_retries(lambda: append([_revoked(request)]))
        return
    ignored = task.ignore_result or getattr(request, "ignore_result", False)
    task.backend.mark_as_revoked(
        request.id, "revoked", request, store_result=not ignored or bool(task.store_errors_even_if_ignored)
    )


def still_holds(request: Any) -> bool:
    """Return whether this delivery's outcome would count now: false if it was taken for dead and another one took over.

    Costs nothing for a short task: nobody can take a claim over while the heartbeats before it live.
    """
    lease = carried(request).lease_until
    if lease is not None and time.monotonic() < lease:
        return True
    try:
        return with_redis_retries(
            lambda: claims.holds(request.id, run=RunNumber.of_request(request), token=token_of(request))
        )  # fmt: skip
    except redis.RedisError:
        return True


class _Questions:
    """Until when nobody is asked, on the monotonic clock, because no engine answered."""

    silent_until: float = 0.0


def _ended_before(task_id: str, *, waits: bool = False) -> bool:
    """Return whether a task ended before this delivery, so long ago that its claim has expired: an engine knows.

    Only messages that may be copies cost this question. Raises NotNow if nobody answers: the message stays; with `waits`, when it
    is acknowledged already and would be lost, asks until somebody does. In a process that never waits for Redis, nobody's answer
    means no.
    """
    if never_waits() and (is_away() or time.monotonic() < _Questions.silent_until):
        return False
    while True:
        try:
            return bool(ask(Kind.ENDED, [task_id]))
        except (NobodyAnswersError, redis.RedisError, SoftTimeLimitExceeded) as error:
            if never_waits():
                if isinstance(error, redis.RedisError):
                    note_away()
                _Questions.silent_until = time.monotonic() + AWAY_FOR
                return False
            pause(REQUEUE_AFTER)
            if not waits:
                raise NotNow(f"no engine could be asked whether the task has ended: {error}", requeue=True) from error


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
    if not (request.chord and request.group) or own_application() != NATIVE:
        # Attached applications report the end of a part only after it was returned.
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
    acknowledged. A message that waited here for longer than that may have been delivered to others meanwhile.
    """
    copied = getattr(request, DISPATCHED_HEADER, 0) == PERHAPS_SENT or getattr(request, COPIES_HEADER, None)
    waited = time.time() - (carried(request).received_at or math.inf) > claims.ENDED_KEPT
    return bool(carried(request).number or request.retries or copied or waited)


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
