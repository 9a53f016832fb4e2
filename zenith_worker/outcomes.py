"""A task's outcome as an event: what Celery tells a result backend, in the form in which the stream carries it."""

import time
from typing import Any, Final

from celery import states
from kombu.exceptions import EncodeError
from kombu.utils import json

from zenith_worker.carried import carried
from zenith_worker.errors import ResultNotJSONError, ResultTooLargeError
from zenith_worker.signals import origin
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import NO_META, Event

#: What is kept of an exception's message and of its traceback's end, in characters.
MESSAGE_KEPT: Final = 10_000
TRACEBACK_KEPT: Final = 100_000
#: Of the states that Celery stores, those that are an outcome.
OUTCOMES: Final = {
    states.SUCCESS: Status.SUCCESS,
    states.FAILURE: Status.FAILURE,
    states.RETRY: Status.RETRY,
    states.REVOKED: Status.REVOKED,
}


def outcome(
    task_id: str, result: Any, state: str, traceback: str | None, request: Any, children: list[Any], *, largest: int
) -> Event:
    """Return the event of an outcome.

    `state` is one of OUTCOMES, `request` is Celery's as the task sees it, `children` are the tasks that it sent as tuples, and
    `largest` is how many bytes of JSON a result may take. Raises ResultNotJSONError or ResultTooLargeError.
    """
    known = carried(request)
    meta = json.dumps({"children": children}) if children else None
    return Event(
        task_id=task_id,
        status=OUTCOMES[state],
        at=time.time(),
        attempt=getattr(request, "retries", None) or 0,
        delivery=known.number,
        worker=getattr(request, "hostname", None) or "",
        received_at=known.received_at,
        started_at=known.started_at,
        not_before=known.retry_at if state == states.RETRY else None,
        held=state == states.RETRY and known.held,
        runtime=known.runtime,
        result=encode_result(result, largest) if state == states.SUCCESS else _encode_error(result, largest),
        traceback=_tail(traceback),
        meta=None if meta == NO_META else meta,
        **_error(result, state),
        **origin(request),
    )


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
    """Return an error as JSON text, shortened to its message where its arguments cannot be kept.

    Raises nothing for them: an error about the error would hide the cause.
    """
    try:
        return encode_result(result, largest)
    except EncodeError:
        if not isinstance(result, dict):
            return encode_result(str(result)[:MESSAGE_KEPT], largest)
        return encode_result({**result, "exc_message": [_message(result)]}, largest)


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
