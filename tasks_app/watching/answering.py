"""The thread of an observer that carries out what servers ask of it (requests.py): remote control of the workers
(remote_control.py), and looks into queues (looks.py).

Each request has a thread and a connection of its own, so that a worker or a broker that is slow to answer keeps no other request
waiting, nor anything else that the observer does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import redis
from celery import Celery

from tasks_app.watching import looks, remote_control, requests
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import Broker
from tasks_app.watching.requests import LOOK, Answer, Taken
from zenith_worker.wire.control import Request

logger = logging.getLogger(__name__)

#: Requests that one observer carries out at the same time; others wait until their time is over.
AT_ONCE: Final = 4
#: Seconds for which a request is waited for, and so how long stopping takes.
BLOCK: Final = 1.0
#: Requests after which workers are as before.
_CHANGE_NOTHING: Final = {LOOK, remote_control.PING}


class Answering:
    """Carries out requests until `stop` is set.

    Arguments:
        separator_of: knows the application's queues, as looks.py needs it.
        changed: is called once workers were told something.
    """

    def __init__(
        self, watched: Watched, make_app: Callable[[Broker], Celery], stop: threading.Event,
        separator_of: Callable[[str], str | None], changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._watched, self._make_app, self._stop = watched, make_app, stop
        self._separator_of, self._changed = separator_of, changed
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
                threading.Thread(target=self._run, args=arguments, name="observer answering", daemon=True).start()
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
            requests.answer(taken.request, self._carry_out(app, taken.request, began + taken.seconds))
            if taken.request.command not in _CHANGE_NOTHING:
                self._changed()
        except redis.RedisError as error:
            logger.warning(
                "What came of a request to the observer of %s could not be told: %s", self._watched.name, type(error).__name__
            )
        except Exception as error:  # a thread of its own, and errors that may hold the broker's URL
            logger.error("A request to the observer of %s failed: %s", self._watched.name, type(error).__name__)
        finally:
            self._free.release()

    def _carry_out(self, app: Celery, request: Request, ends_at: float) -> Answer:
        if request.command == LOOK:
            return looks.see(app, request, self._watched.broker, self._separator_of)
        return remote_control.tell(app, request, ends_at)
