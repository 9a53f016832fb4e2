"""A span for every run of a task: a child of the span that dispatched it, or of the previous attempt's."""

from contextlib import AbstractContextManager
from typing import Any, Final

from celery import signals
from celery.app.task import Task as CeleryTask
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from zenith_worker.wire import spans
from zenith_worker.wire.headers import REQUEST_HEADER, TRACEPARENT, TRACESTATE

_OPEN: Final = "zenith_span"
_CARRIERS: Final = (TRACEPARENT, TRACESTATE)


def connect() -> None:
    """Trace the tasks that this process runs."""
    signals.task_prerun.connect(_begin, dispatch_uid="zenith_site.tracing.prerun")
    signals.task_failure.connect(_note_error, dispatch_uid="zenith_site.tracing.failure")
    signals.task_retry.connect(_note_retry, dispatch_uid="zenith_site.tracing.retry")
    signals.task_postrun.connect(_end, dispatch_uid="zenith_site.tracing.postrun")


def _begin(task: CeleryTask[..., Any], **_: Any) -> None:
    request = task.request
    parent = {name: str(value) for name in _CARRIERS if (value := getattr(request, name, None))}
    delivery = request.delivery_info or {}
    span = spans.span(
        f"run {task.name}", "consumer", parent=parent, messaging__system="celery", messaging__operation__type="process",
        messaging__message__id=str(request.id), messaging__destination__name=str(delivery.get("routing_key") or ""),
        zenith__task=task.name, zenith__attempt=(request.retries or 0) + 1,
        zenith__request_id=str(getattr(request, REQUEST_HEADER, None) or ""),
    )  # fmt: skip
    span.__enter__()
    setattr(request, _OPEN, span)


def _note_error(exception: BaseException, **_: Any) -> None:
    current = trace.get_current_span()
    current.record_exception(exception)
    current.set_status(StatusCode.ERROR, f"{type(exception).__name__}: {exception}")


def _note_retry(reason: object, **_: Any) -> None:
    if isinstance(reason, BaseException):
        _note_error(reason)


def _end(task: CeleryTask[..., Any], state: str | None = None, **_: Any) -> None:
    span: AbstractContextManager[None] | None = getattr(task.request, _OPEN, None)
    if span is not None:
        trace.get_current_span().set_attribute("zenith.state", str(state))
        span.__exit__(None, None, None)
