"""The requests that a worker's main process holds, and the steps of theirs that are not reported yet."""

import time
from collections.abc import Iterable
from typing import Any

from celery.worker import state as worker_state
from celery.worker.request import Request

from zenith_worker.carried import carried
from zenith_worker.origin import origin
from zenith_worker.wire.events import Event
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status


def unreported(held_for: float = 0.0) -> list[Request]:
    """Return the requests that are held for so many seconds and whose current step is not reported yet.

    One that seems to be received in the future counts as well: the clock was set back.
    """
    now = time.time()
    return [
        request
        for request in list(worker_state.reserved_requests)
        if _has_news(request) and abs(now - (carried(request).received_at or 0.0)) >= held_for
    ]


def steps(requests: Iterable[Request]) -> list[Event]:
    """Return the current step of each request."""
    return [_step(request) for request in requests]


def note_reported(requests: Iterable[Any]) -> None:
    """Record that the current step of each request is reported."""
    for request in requests:
        carried(request).reported = _status(request)


def _status(request: Request) -> Status:
    return Status.STARTED if request.time_start else Status.RECEIVED


def _has_news(request: Request) -> bool:
    if request.eta is not None and not request.time_start:
        return False  # it waits for its back-off in the worker's memory; RETRY says more than RECEIVED
    return carried(request).reported != _status(request)


def _step(request: Request) -> Event:
    run = RunNumber.of(request.request_dict)
    received = carried(request).received_at or time.time()
    return Event(
        task_id=request.id,
        status=_status(request),
        at=request.time_start or received,
        nesting=run.nesting,
        attempt=run.attempt,
        delivery=carried(request).number,
        worker=request.hostname,
        early=bool(request.time_start and request.acknowledged and not request.task.acks_late),
        received_at=received,
        **origin(request._context),
    )
