"""Sends a task on Zenith's behalf, as the application itself would: by its own `apply_async`, with its routes and serializers."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any, Final

from celery import Celery, signals
from celery.app.task import Task
from celery.exceptions import AlwaysEagerIgnored
from kombu.exceptions import OperationalError
from kombu.utils import json

from zenith_worker import broker
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

#: Characters kept of the reason why a task could not be sent.
REASON_KEPT: Final = 10_000
#: Seconds for which a fork waits for a message that is being sent.
FORK_WAITS: Final = 0.1


class MalformedCommandError(ValueError):
    """A command does not say what to send."""


@dataclass(frozen=True, slots=True)
class _Call:
    task_id: str
    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]


class _Sending:
    """Which task this thread is sending; whether its message was sent, and to which queue."""

    def __init__(self, task_id: str) -> None:
        self.task_id, self.is_sent, self.queue = task_id, False, ""


#: What the report says if `apply_async` returned and this process sent no message of that id: the application may send it
#: later, from somewhere else, or not at all.
NOTHING_SENT: Final = "its apply_async sent no message with this id"

_sending: Final[ContextVar[_Sending | None]] = ContextVar("sending", default=None)
#: Held while a message is sent: a child that is forked at that moment would inherit locks of the connection pool as locked.
_at_work = threading.RLock()


def send(app: Celery, body: Mapping[str, Any]) -> Event:
    """Send the task of a SEND command (wire/commands.py); return the report that it is in its queue.

    Never runs it in this process, and never sends it as a child of another task. Raises MalformedCommandError, whatever the
    application's own code raises, and the errors of `is_broker_away`.
    """
    call = _call(body)
    sending = _Sending(call.task_id)
    token = _sending.set(sending)
    try:
        with _at_work, _known_queues_kept(app):
            _apply_async(app, call)
    finally:
        _sending.reset(token)
    message = "" if sending.is_sent else NOTHING_SENT
    return Event(task_id=call.task_id, status=Status.QUEUED, at=time.time(), queue=sending.queue, message=message)


def failed(task_id: str, error: Exception) -> Event:
    """Return the report of a task that its application could not send."""
    kind, reason = type(error).__qualname__, _text(error)[:REASON_KEPT]
    return Event(
        task_id=task_id, status=Status.FAILURE, at=time.time(), error_type=kind, error_message=reason,
        message="its application could not send it",
        result=json.dumps({"exc_type": kind, "exc_message": [reason], "exc_module": type(error).__module__}),
    )  # fmt: skip


def is_broker_away(app: Celery, error: Exception) -> bool:
    """Whether a message could not be sent only because the broker cannot be reached, so that it can be sent later.

    The errors of kombu, which wraps those of brokers, say so. A plain error of a connection may come from another service that
    the application's own code needs, such as its cache: if the broker answers, it does. Other errors of the operating system,
    such as a missing file, are of that code too.
    """
    if isinstance(error, OperationalError):
        return True
    if isinstance(error, (ConnectionError, TimeoutError)):
        return not _broker_answers(app)
    try:
        errors = app.connection_for_write().connection_errors
    except Exception:  # the application's settings are wrong
        return False
    return isinstance(error, errors) and not isinstance(error, OSError) and not _broker_answers(app)


def _broker_answers(app: Celery) -> bool:
    """Whether the broker accepts a new connection now."""
    try:
        broker.connect(app).release()
    except Exception:  # of whatever transport
        return False
    return True


def _call(body: Mapping[str, Any]) -> _Call:
    call = _Call(*(body.get(name, kind()) for name, kind in _MEMBERS.items()))
    for (name, kind), value in zip(_MEMBERS.items(), (call.task_id, call.name, call.args, call.kwargs, call.options)):
        if type(value) is not kind or value == "":
            raise MalformedCommandError(f"Zenith asked for a task whose `{name}` is no {kind.__name__}")
    options = {name: value for name, value in call.options.items() if name != "task_id"}
    if isinstance(options.get("expires"), str):
        options["expires"] = _moment(options["expires"])
    return _Call(call.task_id, call.name, call.args, call.kwargs, options)


_MEMBERS: Final[dict[str, Any]] = {"id": str, "task": str, "args": list, "kwargs": dict, "options": dict}


def _moment(text: str) -> datetime:
    try:
        # Before Python 3.11, the letter Z is unknown.
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise MalformedCommandError(f"Zenith asked for a task that expires at no time: {error}") from error


def _apply_async(app: Celery, call: _Call) -> None:
    task: Task[..., Any] | None = app.tasks.get(call.name)
    # A tuple, as from `delay`.
    args = tuple(call.args)
    if task is not None and not app.conf.task_always_eager:
        task.apply_async(args, call.kwargs, task_id=call.task_id, **call.options)
        return
    own = {name: value for name, value in task._get_exec_options().items() if value is not None} if task is not None else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlwaysEagerIgnored)
        app.send_task(call.name, args, call.kwargs, task_id=call.task_id, task_type=task, **{**own, **call.options})


@contextmanager
def _known_queues_kept(app: Celery) -> Iterator[None]:
    """Let the app forget a queue that it did not know before: until Celery 5.6, its worker would consume it one day.

    That is after the next loss of its broker, if it was started without `-Q`.
    """
    queues = app.amqp.queues
    before = set(queues)
    try:
        yield
    finally:
        for name in tuple(queues):
            if name not in before:
                queues.pop(name, None)


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # str() of somebody else's exception may raise anything
        return f"<{type(error).__qualname__}, which cannot be printed>"


@signals.after_task_publish.connect
def _note_queue(headers: Any = None, body: Any = None, routing_key: str = "", **_: Any) -> None:
    sending = _sending.get()
    # Celery's protocol 1 has the id in the body.
    if sending is not None and any(isinstance(part, dict) and part.get("id") == sending.task_id for part in (headers, body)):
        sending.is_sent, sending.queue = True, routing_key


class _Fork(threading.local):
    """Whether this thread, which forks, holds the lock: others may fork at the same time."""

    waited: bool = False


_fork = _Fork()


def _wait_for_message() -> None:
    _fork.waited = _at_work.acquire(timeout=FORK_WAITS)


def _go_on() -> None:
    if _fork.waited:
        _at_work.release()


def _begin_anew() -> None:
    global _at_work
    _at_work = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows has none, and no forks
    os.register_at_fork(before=_wait_for_message, after_in_parent=_go_on, after_in_child=_begin_anew)
