"""Handlers of Celery's signals: times for the timeline, and tasks that Zenith did not dispatch.

- `after_task_publish` (any process): reports a task that was sent with plain `.delay()` as QUEUED.
- `task_received` (the worker's main process): the time of receipt and the number of the delivery go to the pool's child with the
  request.
- `task_prerun` (where the task runs): the start, on the wall clock and on the monotonic clock.

None of them waits for Redis for a dispatched task: their data goes into the task's outcome (outcomes.py), and the state reporter
reports longer tasks.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import redis
from celery import current_task, signals, states
from celery.app.task import Task as CeleryTask
from celery.exceptions import Reject, Retry
from celery.worker.request import Request

from zenith_worker.canvas import ids_sent_at_end
from zenith_worker.carried import carried, stamp, token_of
from zenith_worker.errors import NotNow, NotThisDelivery, Replaced
from zenith_worker.origin import sent
from zenith_worker.reporting import with_redis_retries
from zenith_worker.wire import claims, correlation, stream
from zenith_worker.wire.deliveries import count_delivery, delivery_limit, put_back
from zenith_worker.wire.headers import BACKOFF_HEADER, COPIES_HEADER, DISPATCHED_HEADER, REQUEST_HEADER
from zenith_worker.wire.runs import RunNumber

try:
    from celery.app.trace import get_actual_ignore_result
except ImportError:
    # Before Celery 5.6, only a task decides whether its results are ignored.
    def get_actual_ignore_result(task: Any, req: Any) -> Any:
        """Return whether a task's results are ignored."""
        return task.ignore_result


logger = logging.getLogger(__name__)

#: The priority of the message that this thread is sending: Celery passes it only to the signal before sending.
_priority_sent: Final[ContextVar[Any]] = ContextVar("priority_sent", default=None)


@signals.before_task_publish.connect
def add_origin_headers(headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
    """Add the request's id and trace to the message. Values from its dispatch have precedence, since a relay may send it."""
    _priority_sent.set(properties.get("priority"))
    for name, value in correlation.carried().items():
        headers.setdefault(name, value)
    if current_task and headers.get("id") in ids_sent_at_end(current_task.request):
        headers[COPIES_HEADER] = True


@signals.after_task_publish.connect
def report_sent(sender: str, headers: dict[str, Any], body: Any, routing_key: str, **_: Any) -> None:
    """Report a task that other code sent; retries and dispatched tasks are already known."""
    if (headers.get(DISPATCHED_HEADER) and not headers.get("replaced_task_nesting")) or headers.get("retries"):
        return
    event = sent(sender, headers, body, queue=routing_key, priority=_priority_sent.get())
    try:
        stream.append([event])
    except redis.RedisError:
        # The worker reports the task again when it receives it.
        logger.warning("Task %s was sent, but reporting it failed.", headers["id"])


@signals.task_received.connect
def stamp_received(request: Request, **_: Any) -> None:
    """Store the time of receipt and the number of the delivery on the request."""
    run = RunNumber.of(request.request_dict)
    stamp(request.request_dict, count_delivery(request.id, run) if request.delivery_info["redelivered"] else 0)
    if request.eta is not None:
        _bound_backoff(request)


def _bound_backoff(request: Request) -> None:
    """Limit the wait to the back-off: the due time is from another machine, whose clock may be wrong."""
    attempt, seconds = request.request_dict.get(BACKOFF_HEADER) or (None, 0)
    if attempt == request.request_dict.get("retries"):
        request._eta = min(request.eta, datetime.now(timezone.utc) + timedelta(seconds=seconds))


@signals.task_prerun.connect
def stamp_started(task: CeleryTask[..., Any], **_: Any) -> None:
    """Store the body's start on the running request; and for the log, the task and the request that sent it."""
    carried(task.request).start()
    correlation.task.set((task.request.id or "", task.name))
    correlation.request_id.set(getattr(task.request, REQUEST_HEADER, None) or "")


@signals.task_retry.connect
def report_retry_without_result(sender: CeleryTask[..., Any], request: Any, reason: Retry, einfo: Any, **_: Any) -> None:
    """Report a failed attempt of a task whose results are ignored: Celery does not call the backend for it."""
    if isinstance(sender, CeleryTask) and get_actual_ignore_result(sender, request) and not sender.store_errors_even_if_ignored:
        sender.backend.mark_as_retry(request.id, reason.exc, einfo and einfo.traceback, request, store_result=False)


@signals.task_postrun.connect
def report_end_without_outcome(task: CeleryTask[..., Any], retval: Any, state: str, **_: Any) -> None:
    """Report a body that ended without an outcome: Celery does not call the backend for it.

    A delivery that was refused before its body started is not reported.
    """
    if state == states.REJECTED and retval.requeue and not isinstance(retval, NotNow):
        _report_rejection(task, retval)
    if state == states.IGNORED and not isinstance(retval, NotThisDelivery) and not task.request.is_eager:
        if isinstance(retval, Replaced):
            task.backend.mark_as_replaced(task.request.id, str(retval), task.request)
        else:
            task.backend.mark_as_ignored(task.request.id, str(retval), task.request)


def _report_rejection(task: CeleryTask[..., Any], rejection: Reject) -> None:
    """Report that a body rejected its message; after too many deliveries the message does not go back, and the task fails."""
    request, run = task.request, RunNumber.of_request(task.request)
    deliveries = carried(request).number + 1
    if deliveries >= delivery_limit(task):
        rejection.requeue = False
        rejection.reason = f"rejected {deliveries} times; the last reason: {rejection.reason}"
        rejection.args = (rejection.reason, False)
        return
    if with_redis_retries(lambda: claims.release(request.id, run)):
        step = with_redis_retries(lambda: put_back(request.id, run, f"its body rejected it: {rejection.reason}"))
        with_redis_retries(lambda: stream.append([step]))


@signals.task_postrun.connect
def clear_correlation(**_: Any) -> None:
    """Clear the log's task and request: this thread's next lines belong to none."""
    correlation.task.set(("", ""))
    correlation.request_id.set("")


@signals.task_postrun.connect
def end_claim(task: CeleryTask[..., Any], **_: Any) -> None:
    """Note that this delivery no longer runs, in whatever it ended."""
    claims.end(task.request.id, token_of(task.request))
