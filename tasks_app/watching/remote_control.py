"""The thread of an observer that carries out what servers ask of it (requests.py): Celery's remote control of the workers.

Each request has a thread and a connection of its own, so that a worker that is slow to answer keeps no other request waiting, nor
anything else that the observer does. What cannot be sent before its time is over is not sent.

Workers of other people know no command of Zenith's: what stops the consuming of queues is Celery's own, one queue after another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import redis
from celery import Celery

from tasks_app.watching import requests
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import Broker
from tasks_app.watching.reasons import reason_of
from tasks_app.watching.requests import REVOKE, Taken
from zenith_worker.wire import control
from zenith_worker.wire.broadcasts import broadcast
from zenith_worker.wire.control import STOP_CONSUMING, Answers, Request, passed_on

logger = logging.getLogger(__name__)

#: Requests that one observer carries out at the same time; others wait until their time is over.
AT_ONCE: Final = 4
#: Seconds for which a request is waited for, and so how long stopping takes.
BLOCK: Final = 1.0
#: Celery's commands: one changes nothing, and one stops the consuming of a queue.
PING: Final = "ping"
_CANCEL_CONSUMER: Final = "cancel_consumer"


class RemoteControl:
    """Carries out requests until `stop` is set.

    Arguments:
        changed: is called once workers were told something.
    """

    def __init__(
        self, watched: Watched, make_app: Callable[[Broker], Celery], stop: threading.Event, changed: Callable[[], None]
    ) -> None:
        self._watched, self._make_app, self._stop, self._changed = watched, make_app, stop, changed
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def run(self) -> None:
        """Carry out requests until the end."""
        app = self._make_app(self._watched.broker)
        try:
            while not self._stop.is_set():
                self._step(app)
        finally:
            app.close()

    def _step(self, app: Celery) -> None:
        if not self._free.acquire(timeout=BLOCK):
            return
        is_begun = False
        try:
            if (taken := requests.take(self._watched.name, BLOCK)) is not None:
                arguments = app, taken, time.monotonic()
                threading.Thread(target=self._run, args=arguments, name="observer control", daemon=True).start()
                is_begun = True
        except ValueError as error:
            logger.warning("A request to the observer of %s was refused: %s", self._watched.name, error)
        except redis.RedisError as error:
            logger.debug("Zenith's Redis does not answer: %s", type(error).__name__)
            self._stop.wait(BLOCK)
        finally:
            if not is_begun:
                self._free.release()

    def _run(self, app: Celery, taken: Taken, began: float) -> None:
        try:
            requests.answer(taken.request, self._answers(app, taken.request, began + taken.seconds))
            if taken.request.command != PING:
                self._changed()
        except redis.RedisError as error:
            logger.warning("What workers of %s answered could not be told: %s", self._watched.name, type(error).__name__)
        except Exception as error:  # a thread of its own, and errors that may hold the broker's URL
            logger.error("A request to the observer of %s failed: %s", self._watched.name, type(error).__name__)
        finally:
            self._free.release()

    def _answers(self, app: Celery, request: Request, ends_at: float) -> Answers:
        """Tell the workers, once; return what they answer, or why nothing was sent. Nothing of it shows the broker's URL."""
        is_sent = False
        try:
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
                if time.monotonic() > ends_at:
                    return Answers({}, "nothing was sent, because its broker took too long to answer")
                is_sent = True
                return Answers(_tell(app, connection, request, ends_at))
        except Exception as error:  # whatever kombu and the drivers raise
            reason = reason_of(error)
            unsent = f"nothing was sent, because its broker cannot be used: {reason}"
            return Answers({}, f"{reason}; perhaps it was sent before" if is_sent else unsent)


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
