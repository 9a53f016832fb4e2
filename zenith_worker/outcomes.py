"""A task's outcome as an event: what Celery passes to a result backend, in the form of the stream."""

from __future__ import annotations

import sys
import time
import traceback as tracebacks
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from billiard.exceptions import WorkerLostError
from celery import states
from celery.utils.saferepr import saferepr
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu.exceptions import EncodeError
from kombu.utils import json

from zenith_worker import out_of_memory
from zenith_worker.carried import carried
from zenith_worker.errors import ResultNotJSONError, ResultTooLargeError
from zenith_worker.origin import origin
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.events import NO_META, Event
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

#: Characters kept of an exception's message, and of the end of its traceback.
MESSAGE_KEPT: Final = 10_000
TRACEBACK_KEPT: Final = 100_000
#: Celery's states that are an outcome.
OUTCOMES: Final = {
    states.SUCCESS: Status.SUCCESS,
    states.FAILURE: Status.FAILURE,
    states.RETRY: Status.RETRY,
    states.REVOKED: Status.REVOKED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome that Celery passes to a result backend.

    Attributes:
        state: one of OUTCOMES.
        value: what was returned or raised, encoded by the backend.
        error: the exception itself, if there is one.
        request: Celery's request as the task sees it; None if there is none.
        children: the tasks that it sent, as tuples.
    """

    task_id: str
    state: str
    value: Any
    error: BaseException | None = None
    traceback: str | None = None
    request: Any = None
    children: Sequence[Any] = ()

    def event(self, largest: int, *, describes: bool = False, **about: Any) -> Event:
        """Return the outcome's event; a result has at most `largest` characters of JSON, and `about` are further fields.

        Raises ResultNotJSONError or ResultTooLargeError; with `describes`, the result's representation is in its place.
        """
        delivery, run = carried(self.request), RunNumber.of_request(self.request)
        used = delivery.used
        # As in django-celery-results, a body may set `request.meta`.
        own = getattr(self.request, "meta", None)
        meta = _json({**(own if isinstance(own, dict) else {}), "children": self.children}) if self.children or own else None
        members = {
            "result": self._result(largest, describes=describes),
            "traceback": _tail(self._real_traceback()),
            "meta": None if meta == NO_META else meta,
            **self._error_fields(),
            **origin(self.request),
        }
        return Event(
            task_id=self.task_id,
            status=OUTCOMES[self.state],
            at=time.time(),
            nesting=run.nesting,
            attempt=run.attempt,
            delivery=delivery.number,
            worker=getattr(self.request, "hostname", None) or "",
            received_at=delivery.received_at,
            started_at=delivery.started_at,
            not_before=delivery.retry_at if self.state == states.RETRY else None,
            held=self.state == states.RETRY and delivery.held,
            runtime=delivery.runtime,
            cpu=None if used.cpu is None else round(used.cpu, 6),
            memory=used.memory,
            periodic_task_name=str(getattr(self.request, "periodic_task_name", None) or ""),
            **{**members, **about},
        )

    def with_value(self, value: Any) -> Outcome:
        """Return the same outcome with another value."""
        return replace(self, value=value)

    def _result(self, largest: int, *, describes: bool) -> str:
        if self.state != states.SUCCESS:
            return _encode_error(self.value, largest)
        try:
            return encode_result(self.value, largest)
        except EncodeError:
            if not describes:
                raise
            return str(json.dumps(saferepr(self.value, MESSAGE_KEPT)))

    def _error_fields(self) -> dict[str, str]:
        """Return the error's type and message as Python prints them; nothing for a success."""
        if self.state == states.SUCCESS:
            return {}
        error = _real(self.error)
        if error is not None:
            text = _text(error)[:MESSAGE_KEPT]
            if isinstance(error, WorkerLostError) and (why := out_of_memory.explain(text)):
                text = f"{text} ({why})"
            return {"error_type": type(error).__qualname__, "error_message": text}
        if isinstance(self.error, UnpickleableExceptionWrapper):
            return {"error_type": self.error.exc_cls_name, "error_message": _message(list(self.error.exc_args))}
        if isinstance(self.value, dict) and "exc_type" in self.value:
            return {"error_type": str(self.value["exc_type"]), "error_message": _message(self.value.get("exc_message"))}
        return {}

    def _real_traceback(self) -> str | None:
        """Return the traceback. Celery's wrapper of an exception loses its cause, so its traceback is formatted anew."""
        if isinstance(self.error, UnpickleableExceptionWrapper) and (error := _real(self.error)) is not None:
            return "".join(tracebacks.format_exception(type(error), error, error.__traceback__))
        return self.traceback


def not_run(outcome: Outcome, largest: int, origin_: dict[str, Any]) -> Event:
    """Return the event of a task that will never run, because one before it in its chain ended as `outcome` says."""
    event = outcome.event(largest, **origin_)
    event.message = f"not run: a task before it in its chain ended in {outcome.state}" + (
        f" ({event.error_type}: {event.error_message})" if event.error_type else ""
    )
    event.status, event.result_status, event.error_type, event.error_message = Status.REVOKED, outcome.state, "", ""
    return event


def _json(meta: dict[str, Any]) -> str:
    try:
        return str(json.dumps(meta))
    except (TypeError, ValueError, RecursionError):
        return str(json.dumps({"children": meta["children"]}))


def _real(error: BaseException | None) -> BaseException | None:
    """Return the original of an exception that Celery wrapped because it cannot be pickled; None if it is gone.

    Celery calls the backend while the exception is handled, so Python still has it.
    """
    if not isinstance(error, UnpickleableExceptionWrapper):
        return error
    raised = sys.exc_info()[1]
    while raised is not None and type(raised).__name__ != error.exc_cls_name:
        raised = raised.__cause__ or raised.__context__
    return raised


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # str() of somebody else's exception may raise anything
        return f"<{type(error).__qualname__}, which cannot be printed>"


def encode_result(result: Any, largest: int) -> str:
    """Return a result as JSON text of at most `largest` characters.

    Raises ResultNotJSONError or ResultTooLargeError, which Celery turns into the task's failure.
    """
    try:
        text = json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultNotJSONError(f"the task returned a value that is not JSON: {error}") from error
    if len(text) > largest:
        raise ResultTooLargeError(f"the task returned {len(text):,} bytes of JSON; at most {largest:,} are stored")
    return str(text)


def _encode_error(result: Any, largest: int) -> str:
    """Return an error as JSON text, reduced to its message if its arguments cannot be stored.

    It does not raise for them: an error about the error would hide the cause.
    """
    try:
        return encode_result(result, largest)
    except EncodeError:
        if not isinstance(result, dict):
            return encode_result(str(result)[:MESSAGE_KEPT], largest)
        return encode_result({**result, "exc_message": [_message(result.get("exc_message"))]}, largest)


def _message(message: Any) -> str:
    parts = message if isinstance(message, (list, tuple)) else [message]
    return ", ".join(str(part) for part in parts if part is not None)[:MESSAGE_KEPT]


def _tail(traceback: str | None) -> str | None:
    """Return the end of a traceback, which has the cause, and mark what was cut."""
    if traceback is None or len(traceback) <= TRACEBACK_KEPT:
        return traceback
    return f"… (cut to the last {TRACEBACK_KEPT:,} characters)\n{traceback[-TRACEBACK_KEPT:]}"
