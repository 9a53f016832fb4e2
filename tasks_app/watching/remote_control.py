"""Celery's remote control of the workers of a watched application: how an observer carries out such a request (answering.py).

What cannot be sent before its time is over is not sent.
Workers of other people know no command of Zenith's: what stops the consuming of queues is Celery's own, one queue after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from celery import Celery

from tasks_app.watching.brokers import opened
from tasks_app.watching.reasons import reason_of
from tasks_app.watching.requests import REVOKE, Answer
from zenith_worker.wire import control
from zenith_worker.wire.broadcasts import broadcast
from zenith_worker.wire.control import STOP_CONSUMING, Request, passed_on

#: Celery's commands: one changes nothing, and one stops the consuming of a queue.
PING: Final = "ping"
_CANCEL_CONSUMER: Final = "cancel_consumer"


def tell(app: Celery, request: Request, ends_at: float) -> Answer:
    """Tell the workers, once; return what they answer, or why nothing was sent. Nothing of it shows the broker's URL."""
    is_sent = False
    try:
        with opened(app) as connection:
            if time.monotonic() > ends_at:
                return Answer({}, "nothing was sent, because its broker took too long to answer")
            is_sent = True
            return Answer(_tell(app, connection, request, ends_at))
    except Exception as error:  # whatever kombu and the drivers raise
        reason = reason_of(error)
        unsent = f"nothing was sent, because its broker cannot be used: {reason}"
        return Answer({}, f"{reason}; perhaps it was sent before" if is_sent else unsent)


def _tell(app: Celery, connection: Any, request: Request, ends_at: float) -> dict[str, Any]:
    """Tell the workers what a request says; return what they answer, as far as it is passed on. Raises what kombu raises."""

    def told(command: str, arguments: Any) -> dict[str, Any]:
        within = max(0.1, min(control.ANSWERED_WITHIN, ends_at - time.monotonic()))
        answers = broadcast(
            app, connection, command, arguments, request.workers, within=within, everybody=request.command == REVOKE
        )  # fmt: skip
        return {name: answers[name] for name in request.workers if name in answers}

    if request.command == STOP_CONSUMING:
        return _stop_consuming(request, told, ends_at)
    # What a worker says to `revoke` names every task once more.
    short = _outcome if request.command == REVOKE else passed_on
    return {name: short(answer) for name, answer in told(request.command, request.arguments).items()}


def _stop_consuming(request: Request, told: Callable[[str, Any], dict[str, Any]], ends_at: float) -> dict[str, Any]:
    """Have one worker stop consuming queues, one after another; return its answer: the queues, or what went wrong."""
    stopped: list[str] = []
    answer: Any = None
    for queue in request.arguments.get("queues", ()):
        answer = told(_CANCEL_CONSUMER, {"queue": queue}).get(request.workers[0]) if time.monotonic() < ends_at else None
        if not _is_ok(answer):
            break
        stopped.append(queue)
    else:
        return {request.workers[0]: {"ok": stopped}}
    if not stopped:
        return {} if answer is None else {request.workers[0]: passed_on(answer)}
    why = "there was no answer" if answer is None else _error_of(answer)
    return {request.workers[0]: {"error": f"it stopped consuming {', '.join(stopped)}, but for another queue {why}"}}


def _outcome(answer: Any) -> dict[str, str]:
    return {"ok": ""} if _is_ok(answer) else {"error": _error_of(answer)}


def _is_ok(answer: Any) -> bool:
    return isinstance(answer, dict) and "ok" in answer and "error" not in answer


def _error_of(answer: Any) -> str:
    return str(answer["error"] if isinstance(answer, dict) and "error" in answer else answer)[: control.PASSED_ON]
