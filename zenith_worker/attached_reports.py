"""Where the reports of an attached application go: into the buffer, or with the guard `claims` an outcome ends its claim."""

from __future__ import annotations

import logging
from typing import Any

import redis

from zenith_worker.admission import still_holds
from zenith_worker.buffer import Buffer
from zenith_worker.carried import carried, token_of
from zenith_worker.reporting import report
from zenith_worker.wire import claims
from zenith_worker.wire.events import Event
from zenith_worker.wire.runs import RunNumber

logger = logging.getLogger(__name__)


class Reports:
    """The reports of this process.

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
        if self.claimed and getattr(request, "id", None) and not carried(request).was_cancelled:
            try:
                report(event, token=token_of(request))
                return
            except redis.RedisError:
                logger.debug("The claim of task %s could not be ended.", event.task_id)
        self._buffer.add(event)

    def released(self, request: Any) -> bool:
        """Release the claim of a task whose message goes back to its queue; return whether it still has to run."""
        if not self.claimed:
            return True
        try:
            return claims.release(request.id, RunNumber.of_request(request))
        except redis.RedisError:
            return True  # the claim ends by itself, as that of a dead delivery

    def ended(self, request: Any) -> None:
        """Note that a delivery no longer runs in this process, whatever became of it."""
        if self.claimed:
            claims.end(request.id, token_of(request))
