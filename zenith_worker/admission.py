"""Before a body runs: is this delivery of the task the one that should run it?

What the task's class calls first (task.py). It lets the body run, or ends this delivery by one of
Celery's own exceptions: `Ignore` (acknowledged, nothing stored) for a copy that is not needed.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from celery.exceptions import Ignore

from zenith_worker.carried import carried
from zenith_worker.errors import PoisonTaskError
from zenith_worker.reporting import with_redis_retries
from zenith_worker.wire import claims
from zenith_worker.wire.claims import Verdict
from zenith_worker.wire.deliveries import last_crash
from zenith_worker.wire.headers import DISPATCHED_HEADER, PERHAPS_SENT
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Event, append

logger = logging.getLogger(__name__)

#: How many processes a task may take with it before it is buried.
MAX_CRASHES: Final = 3


def admit(request: Any, ended_before: Callable[[str], bool]) -> None:
    """Let the request's body run, or raise.

    `ended_before` is asked of a task that may be a copy: whether it ended before this delivery.

    Raises Ignore where another delivery runs or ran it or where it was cancelled, Reject where that
    cannot be told now, PoisonTaskError where it killed its process too often.
    """
    if _may_be_a_copy(request) and ended_before(request.id):
        logger.warning("Task %s was delivered again after its end; it does not run again.", request.id)
        raise Ignore
    tag = (request.properties or {}).get("delivery_tag", "")
    claim = with_redis_retries(lambda: claims.begin(request.id, attempt=request.retries, tag=tag))
    if claim.verdict == Verdict.CANCELLED:
        with_redis_retries(lambda: append([_revoked(request)]))
    if claim.verdict != Verdict.RUN:
        logger.warning("A delivery of task %s was dropped: %s.", request.id, claim.verdict.value)
        raise Ignore
    if claim.crashes >= MAX_CRASHES:
        reason = last_crash(request.id)
        raise PoisonTaskError(
            f"its worker process died {claim.crashes} times while running it" + (f"; last: {reason}" if reason else "")
        )


def _may_be_a_copy(request: Any) -> bool:
    """Return whether the task may have run by another message than this.

    A claim remembers an end for minutes only (claims.py), and a copy may wait in its queue for longer.
    Copies are made of messages that were delivered before or that a relay sent, and of retries,
    whose message leaves before the failed attempt is acknowledged.
    """
    return bool(carried(request).number or request.retries or getattr(request, DISPATCHED_HEADER, 0) == PERHAPS_SENT)


def _revoked(request: Any) -> Event:
    return Event(
        task_id=request.id, status=Status.REVOKED, at=time.time(), attempt=request.retries,
        delivery=carried(request).number, worker=request.hostname or "", received_at=carried(request).received_at,
        message="refused by its worker: it was cancelled",
    )  # fmt: skip
