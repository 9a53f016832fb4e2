"""What Celery's signals tell of tasks: sent, received, started, retried, ended without an outcome.

The handlers change nothing that Celery or the application uses. Two headers are added to a received message, which carry the time
of receipt and the number of the delivery to the pool's child, and removed before the body runs. A signal's handler cannot fail a
task: Celery logs what it raises.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any, Final

import celery
from celery import signals, states
from celery.app.task import Task

from zenith_worker import out_of_memory, progress_reports, usage
from zenith_worker.carried import carried, due_at, stamp
from zenith_worker.errors import NotNow, NotThisDelivery
from zenith_worker.origin import sent
from zenith_worker.outcomes import Outcome
from zenith_worker.reporting import is_away
from zenith_worker.reporting_backend import LARGEST_RESULT, with_reports
from zenith_worker.reports import Reports
from zenith_worker.wire.deliveries import count_delivery
from zenith_worker.wire.events import Event
from zenith_worker.wire.headers import DELIVERY_HEADER, DISPATCHED_HEADER, RECEIVED_HEADER
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

#: What Celery's `Task.replace` raises `Ignore` with.
_REPLACED: Final = "Replaced by new task"
#: The priority of the message that this thread is sending: Celery passes it only to the signal before sending.
_priority_sent: Final[ContextVar[Any]] = ContextVar("priority_sent", default=None)


class SignalReports:
    """The handlers, with where they report to."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def connect(self) -> None:
        """Connect every handler."""
        for signal, handler in (
            (signals.before_task_publish, self._before_publish),
            (signals.after_task_publish, self._published),
            (signals.task_received, self._received),
            (signals.task_prerun, self._started),
            (signals.task_retry, self._retried),
            (signals.task_postrun, self._ended),
            (signals.worker_init, self._worker_begins),
            (signals.worker_process_shutdown, self._process_ends),
        ):
            signal.connect(handler, weak=False)

    def _before_publish(self, properties: dict[str, Any], **_: Any) -> None:
        _priority_sent.set(properties.get("priority"))

    def _published(self, sender: str, headers: dict[str, Any], body: Any, routing_key: str, **_: Any) -> None:
        """Report a task that this process sent.

        Retries are known, and what Zenith dispatched; messages of protocol 1 are reported by who receives them.
        """
        is_known = headers.get(DISPATCHED_HEADER) and not headers.get("replaced_task_nesting")
        if is_known or headers.get("retries") or not (headers.get("id") and isinstance(body, (list, tuple)) and len(body) == 3):
            return
        self._reports.add(sent(sender, headers, body, queue=routing_key, priority=_priority_sent.get()))

    def _received(self, request: Any, **_: Any) -> None:
        stamp(request.request_dict, self._number(request))
        with_reports(request.task.backend, self._reports)

    def _number(self, request: Any) -> int:
        """Return how often the message was delivered before. Without a count in Redis, only whether it was is known."""
        if not request.delivery_info.get("redelivered"):
            return 0
        if not self._reports.claimed or is_away():
            return 1
        return count_delivery(request.id, RunNumber.of(request.request_dict))

    def _started(self, task: Task[..., Any], **_: Any) -> None:
        if not task.request.is_eager:
            carried(task.request).start()
            _hide_stamp(task.request)
            with_reports(task.backend, self._reports)

    def _retried(self, sender: Any, request: Any, einfo: Any, reason: Any = None, **_: Any) -> None:
        """Report a failed attempt that another one follows: Celery does not call the backend if results are ignored.

        Without a reason a worker gave the task back because it lost its connection: the message comes again.
        """
        if request.is_eager or reason is None:
            return
        carried(request).retry_at = due_at(reason.when)
        progress_reports.end(request)
        self._reports.outcome(_failed(sender, request, reason.exc or reason, states.RETRY, einfo and einfo.traceback), request)

    def _ended(self, task: Task[..., Any], retval: Any, state: str, **_: Any) -> None:
        """Report a body that ended without an outcome, for which Celery does not call the backend.

        One that rejected its message so that it goes back to its queue will be delivered again.
        """
        request = task.request
        if request.is_eager:
            return
        progress_reports.end(request)
        self._reports.ended(request)
        if state in (states.IGNORED, states.REJECTED) and not isinstance(retval, (NotThisDelivery, NotNow)):
            self._report_end(task, retval, state)

    def _report_end(self, task: Any, retval: Any, state: str) -> None:
        request = task.request
        if state == states.REJECTED and retval.requeue:
            self._reports.released(request)
        elif state == states.REJECTED and celery.VERSION < (5, 7):
            # As Celery does since 5.7; before, such a task has no result at all.
            self._reports.outcome(_failed(task, request, retval, states.FAILURE), request)
        elif state == states.REJECTED:
            return  # its main process calls the backend
        elif str(retval) == _REPLACED:
            self._reports.outcome(_bare(request, Status.REPLACED, "replaced"), request)
        else:
            self._reports.outcome(_bare(request, Status.IGNORED, str(retval)), request)

    def _worker_begins(self, sender: Any, **_: Any) -> None:
        usage.keep_peak(sender)
        out_of_memory.begin()

    def _process_ends(self, **_: Any) -> None:
        self._reports.process_ends()


def _hide_stamp(request: Any) -> None:
    """Remove what came from the main process: the body, and the messages that it sends, must not see it."""
    for name in (RECEIVED_HEADER, DELIVERY_HEADER):
        vars(request).pop(name, None)
        if isinstance(request.headers, dict):
            request.headers.pop(name, None)


def _failed(task: Any, request: Any, error: BaseException, state: str, traceback: str | None = None) -> Event:
    value = task.backend.prepare_exception(error, serializer="json")
    outcome = Outcome(task_id=request.id, state=state, value=value, error=error, traceback=traceback, request=request)
    return outcome.event(LARGEST_RESULT, describes=True)


def _bare(request: Any, status: Status, reason: str) -> Event:
    event = Outcome(task_id=request.id, state=states.SUCCESS, value=None, request=request).event(LARGEST_RESULT)
    event.status, event.message, event.result, event.at = status, reason, None, time.time()
    return event
