"""Where reports go: into a buffer, or at once; and with claims an outcome ends its claim.

Zenith's own application is one whose tasks are claimed, and whose workers wait for Redis.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Final

import redis
from billiard import current_process

from zenith_worker.admission import still_holds
from zenith_worker.buffer import Buffer
from zenith_worker.carried import Carried, carried, token_of
from zenith_worker.reporting import report, with_redis_retries
from zenith_worker.wire import claims, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

#: Seconds for which the loop of a worker's main process waits for Redis.
MAIN_PROCESS_WAITS: Final = 10.0


class Reports:
    """The reports of a process of an attached application.

    Attributes:
        claimed: whether tasks are claimed, so that only the outcome of the claim's holder counts. It is reported once all that
            the application does about it is done: what dies before that has not ended, and its message comes again.
    """

    def __init__(self, buffer: Buffer, *, claimed: bool = False) -> None:
        self._buffer, self.claimed = buffer, claimed

    def add(self, *events: Event) -> None:
        """Report steps that are no outcome of a delivery, without waiting."""
        self._buffer.add(*events)

    def counts(self, request: Any) -> bool:
        """Return whether an outcome of this delivery counts; without the guard, each does."""
        # Of an unknown task's message Celery makes a request without an id.
        if not self.claimed or not getattr(request, "id", None) or still_holds(request):
            return True
        logger.warning("An outcome of task %s was dropped: another worker took the task over, or it had ended.", request.id)
        return False

    def outcome(self, event: Event, request: Any) -> None:
        """Report how a delivery ended. While Zenith's Redis is away, the buffer keeps that, unless tasks wait for it."""
        if carried(request).was_put_back:
            return  # it runs again, so this is no end
        if self.claimed and getattr(request, "id", None) and not carried(request).was_cancelled:
            _expect_next(event, carried(request))
            try:
                # Without a claim of its own this is the worker's main process, whose loop must go on.
                patience = MAIN_PROCESS_WAITS if carried(request).lease_until is None else math.inf
                report(event, token=token_of(request), patience=patience)
                return
            except redis.RedisError:
                logger.debug("The claim of task %s could not be ended.", event.task_id)
        self._buffer.add(event)

    def released(self, request: Any) -> bool:
        """Release the claim of a task whose message goes back to its queue; return whether it still has to run."""
        if not self.claimed:
            return True
        try:
            return with_redis_retries(
                lambda: claims.release(request.id, RunNumber.of_request(request)), patience=MAIN_PROCESS_WAITS
            )
        except redis.RedisError:
            return True  # the claim ends by itself, as that of a dead delivery

    def process_ends(self) -> None:
        """Send what a process of the pool still has, or leave it to the main process."""
        self._buffer.flush(in_pool=current_process().name != "MainProcess")

    def ended(self, request: Any) -> None:
        """Note that a delivery no longer runs in this process, whatever became of it."""
        if self.claimed:
            claims.end(request.id, token_of(request))


def _expect_next(event: Event, delivery: Carried) -> None:
    """Make the end of a body that sent its task's next attempt and went on what it is to the task: no end."""
    if delivery.next_sent and event.status in (Status.SUCCESS, Status.FAILURE):
        event.status, event.result, event.not_before = Status.RETRY, None, delivery.retry_at
        event.message = event.message or "its body sent the next attempt and then continued to its end"


class _OwnReports(Reports):
    """The reports of a process of Zenith's own application: nothing is buffered, so nothing is lost with the process."""

    def __init__(self) -> None:
        self.claimed = True

    def add(self, *events: Event) -> None:
        """Report steps that are no outcome. If Redis does not answer they are left out: a later report says the same."""
        try:
            stream.append(events)
        except redis.RedisError as error:
            logger.warning("%s steps of tasks could not be reported: %s", len(events), error)

    def process_ends(self) -> None:
        """Nothing is left to send."""

    def outcome(self, event: Event, request: Any) -> None:
        """Report how a delivery ended, however long Redis is away."""
        report(event, token=token_of(request))


OWN_REPORTS: Final = _OwnReports()
