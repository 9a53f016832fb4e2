"""Before a body runs: is this delivery of the task the one that should run it?

What the task's class calls first (base.py). It lets the body run, or ends this delivery by one of
Celery's own exceptions: `Ignore` (acknowledged, nothing stored) for a copy that is not needed.
"""

import logging
import time
from typing import Any, Final
from uuid import UUID

import redis
from celery.exceptions import Ignore, Reject
from django.db import DatabaseError

from tasks_app.errors import PoisonTaskError
from tasks_app.models import Task
from tasks_app.states import TERMINAL, Status
from tasks_app.tracking import claims
from tasks_app.tracking.claims import Verdict
from tasks_app.tracking.crashes import last_crash
from tasks_app.tracking.outcome import surely
from tasks_app.tracking.signals import DISPATCHED_HEADER, PERHAPS_SENT
from tasks_app.tracking.stream import Event, append
from zenith_site.common.loops import with_fresh_connection

logger = logging.getLogger(__name__)

#: How many processes a task may take with it before it is buried.
MAX_CRASHES: Final = 3
#: Seconds to wait before a message is put back because PostgreSQL cannot be asked about it.
REQUEUE_AFTER: Final = 2.0


def admit(request: Any) -> None:
    """Let the request's body run, or raise.

    Raises Ignore where another delivery runs or ran it or where it was cancelled, Reject where that
    cannot be told now, PoisonTaskError where it killed its process too often.
    """
    if _may_be_a_copy(request) and _ended_before(request.id):
        logger.warning("Task %s was delivered again after its end; it does not run again.", request.id)
        raise Ignore
    tag = (request.properties or {}).get("delivery_tag", "")
    claim = surely(lambda: claims.begin(request.id, attempt=request.retries, tag=tag))
    if claim.verdict == Verdict.CANCELLED:
        surely(lambda: append([_revoked(request)]))
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
    return bool(request.zenith_delivery or request.retries or getattr(request, DISPATCHED_HEADER, 0) == PERHAPS_SENT)


def _ended_before(task_id: str) -> bool:
    """Ask PostgreSQL; only what may be a copy costs this query."""
    try:
        with with_fresh_connection():
            return Task.objects.filter(pk=UUID(task_id), status__in=TERMINAL).exists()
    except (DatabaseError, redis.RedisError) as error:
        time.sleep(REQUEUE_AFTER)
        raise Reject(f"PostgreSQL cannot tell whether it ran: {error}", requeue=True) from error
    except ValueError:
        return False


def _revoked(request: Any) -> Event:
    return Event(
        task_id=request.id, status=Status.REVOKED, at=time.time(), attempt=request.retries,
        delivery=request.zenith_delivery, worker=request.hostname or "", received_at=request.zenith_received,
        message="refused by its worker: it was cancelled",
    )  # fmt: skip
