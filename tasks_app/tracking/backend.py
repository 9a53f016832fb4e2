"""The result backend: outcomes go to the stream, and are read from PostgreSQL.

Celery calls a result backend for every outcome there is, in the pool's child processes and, for
lost processes and hard time limits, in the worker's main process. That makes it the one place to
report outcomes from. A success is in Redis *before* Celery acknowledges the message, so a task
whose outcome got lost is always delivered again. A recorder writes the outcome to `TaskResult`;
`AsyncResult(id).get()` reads it there, as with django-celery-results' own backend.
"""

import time
from typing import Any, Final

from celery import states
from celery.app.task import Context
from django.conf import settings
from django_celery_results.backends import DatabaseBackend
from kombu.exceptions import EncodeError
from kombu.utils import json

from tasks_app.errors import ResultNotJSONError, ResultTooLargeError
from tasks_app.states import Status
from tasks_app.tracking.outcome import report
from tasks_app.tracking.results import NO_META
from tasks_app.tracking.signals import origin
from tasks_app.tracking.stream import Event

#: What is kept of an exception's message and of its traceback's end, in characters.
MESSAGE_KEPT: Final = 10_000
TRACEBACK_KEPT: Final = 100_000

_OUTCOMES: Final = {
    states.SUCCESS: Status.SUCCESS,
    states.FAILURE: Status.FAILURE,
    states.RETRY: Status.RETRY,
    states.REVOKED: Status.REVOKED,
}


class ZenithBackend(DatabaseBackend):
    """django-celery-results' backend, with writing left to the recorders."""

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Context | None = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Report a success also where its result is ignored: the task is accounted for anyway."""
        if not store_result or (request is not None and request.ignore_result):
            self._report(task_id, None, state, None, request)
        super().mark_as_done(task_id, result, request, store_result, state)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        status: str,
        traceback: str | None = None,
        request: Context | None = None,
        using: str | None = None,
    ) -> Any:
        if status in _OUTCOMES:
            self._report(task_id, result, status, traceback, request)
        elif status != states.STARTED:  # the worker's announcer reports what runs
            super()._store_result(task_id, result, status, traceback, request, using)
        return result

    def _report(self, task_id: str, result: Any, status: str, traceback: str | None, request: Any) -> None:
        wall, clock = getattr(request, "zenith_started", None) or (None, None)
        event = Event(
            task_id=task_id,
            status=_OUTCOMES[status],
            at=time.time(),
            attempt=getattr(request, "retries", None) or 0,
            delivery=getattr(request, "zenith_delivery", None) or 0,
            worker=getattr(request, "hostname", None) or "",
            received_at=getattr(request, "zenith_received", None),
            started_at=wall,
            not_before=getattr(request, "zenith_retry_at", None) if status == states.RETRY else None,
            held=status == states.RETRY and getattr(request, "zenith_held", False),
            runtime=None if clock is None else time.monotonic() - clock,
            result=encode_result(result) if status == states.SUCCESS else _encode_error(result),
            traceback=_tail(traceback),
            **_error(result, status),
            **origin(request),
        )
        children = self.current_task_children(request)
        if children:
            event.meta = json.dumps({"children": children})
        event.meta = None if event.meta == NO_META else event.meta
        report(event, tag=(getattr(request, "properties", None) or {}).get("delivery_tag", ""))


def encode_result(result: Any) -> str:
    """Return a result as JSON text.

    Raises ResultNotJSONError or ResultTooLargeError, which Celery turns into the task's failure.
    """
    try:
        text = json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultNotJSONError(f"the task returned a value that is not JSON: {error}") from error
    if len(text) > settings.ZENITH_RESULT_MAX_BYTES:
        raise ResultTooLargeError(
            f"the task returned {len(text):,} bytes of JSON; at most {settings.ZENITH_RESULT_MAX_BYTES:,} are stored"
        )
    return str(text)


def _encode_error(result: Any) -> str:
    """Return an error as JSON text, shortened to its message where its arguments cannot be kept.

    Raises nothing for them: an error about the error would hide the cause.
    """
    try:
        return encode_result(result)
    except EncodeError:
        if not isinstance(result, dict):
            return encode_result(str(result)[:MESSAGE_KEPT])
        return encode_result({**result, "exc_message": [_message(result)]})


def _error(result: Any, status: str) -> dict[str, Any]:
    """Return the error's type and message from the form in which Celery stores exceptions."""
    if status == states.SUCCESS or not isinstance(result, dict):
        return {}
    return {"error_type": str(result.get("exc_type", "")), "error_message": _message(result)}


def _message(error: dict[str, Any]) -> str:
    message = error.get("exc_message")
    parts = message if isinstance(message, list | tuple) else [message]
    return ", ".join(str(part) for part in parts if part is not None)[:MESSAGE_KEPT]


def _tail(traceback: str | None) -> str | None:
    """Return the end of a traceback, where the cause stands, and mark a cut."""
    if traceback is None or len(traceback) <= TRACEBACK_KEPT:
        return traceback
    return f"… (cut to the last {TRACEBACK_KEPT:,} characters)\n{traceback[-TRACEBACK_KEPT:]}"
