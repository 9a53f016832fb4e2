"""Handlers of Celery's signals in Zenith's own processes: what reporting_signals.py does, and what is special here.

A message carries the request and the trace that it belongs to, and a retry waits no longer than its back-off. None of these
waits for Redis for a dispatched task.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Any

from celery import current_app, current_task, signals, states
from celery.app.task import Task as CeleryTask
from celery.exceptions import Reject
from celery.worker.request import Request

from zenith_worker.canvas import ids_sent_at_end
from zenith_worker.carried import carried
from zenith_worker.errors import Replaced
from zenith_worker.reporting import with_redis_retries
from zenith_worker.reporting_signals import SignalReports
from zenith_worker.reports import OWN_REPORTS
from zenith_worker.task_logs import DEFAULT, SETTING, TaskLogs, let_pass, parse_level
from zenith_worker.wire import claims, correlation, stream
from zenith_worker.wire.deliveries import delivery_limit, put_back
from zenith_worker.wire.headers import BACKOFF_HEADER, COPIES_HEADER, REQUEST_HEADER
from zenith_worker.wire.runs import RunNumber

try:
    from celery.app.trace import get_actual_ignore_result
except ImportError:
    # Before Celery 5.6, only a task decides whether its results are ignored.
    def get_actual_ignore_result(task: Any, req: Any) -> Any:
        """Return whether a task's results are ignored."""
        return task.ignore_result


class OwnSignalReports(SignalReports):
    """The handlers for Zenith's own application, whose backend reports retries as well, and whose bodies may reject a message."""

    def _retried(self, sender: Any, request: Any, einfo: Any, reason: Any = None, **_: Any) -> None:
        """Report a failed attempt of a task whose results are ignored: Celery does not call the backend for it."""
        if reason is None or not isinstance(sender, CeleryTask):
            return
        if get_actual_ignore_result(sender, request) and not sender.store_errors_even_if_ignored:
            sender.backend.mark_as_retry(request.id, reason.exc, einfo and einfo.traceback, request, store_result=False)

    def _report_end(self, task: Any, retval: Any, state: str) -> None:
        request = task.request
        if state == states.REJECTED:
            if retval.requeue:
                _report_rejection(task, retval)
        elif isinstance(retval, Replaced):
            task.backend.mark_as_replaced(request.id, str(retval), request)
        else:
            task.backend.mark_as_ignored(request.id, str(retval), request)


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


@signals.before_task_publish.connect
def add_origin_headers(headers: dict[str, Any], **_: Any) -> None:
    """Add the request's id and trace to the message. Values from its dispatch have precedence, since a relay may send it."""
    for name, value in correlation.carried().items():
        headers.setdefault(name, value)
    if current_task and headers.get("id") in ids_sent_at_end(current_task.request):
        headers[COPIES_HEADER] = True


@signals.task_received.connect
def bound_backoff(request: Request, **_: Any) -> None:
    """Limit the wait to the back-off: the due time is from another machine, whose clock may be wrong."""
    if request.eta is None:
        return
    attempt, seconds = request.request_dict.get(BACKOFF_HEADER) or (None, 0)
    if attempt == request.request_dict.get("retries"):
        request._eta = min(request.eta, datetime.now(timezone.utc) + timedelta(seconds=seconds))


@signals.task_prerun.connect
def set_correlation(task: CeleryTask[..., Any], **_: Any) -> None:
    """Set the task and the request that sent it, for the log."""
    correlation.task.set((task.request.id or "", task.name))
    correlation.request_id.set(getattr(task.request, REQUEST_HEADER, None) or "")


@signals.task_postrun.connect
def clear_correlation(**_: Any) -> None:
    """Clear the log's task and request: this thread's next lines belong to none."""
    correlation.task.set(("", ""))
    correlation.request_id.set("")


def _log_level() -> int | None:
    return parse_level(getattr(current_app.conf, SETTING, DEFAULT))


@signals.worker_init.connect
@signals.worker_process_init.connect
def keep_task_logs(**_: Any) -> None:
    """Keep what tasks log in this worker; a spawned process of its pool begins without what the main process has set up."""
    TaskLogs.keep(_log_level())


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def let_task_logs_pass(logger: logging.Logger, **_: Any) -> None:
    """Let the kept levels pass: a worker's log has warnings only, but what tasks log is to be seen in Zenith."""
    level = _log_level()
    if level is not None:
        let_pass(logger, level)


OwnSignalReports(OWN_REPORTS).connect()
