"""What the engine's endless loops share: ending when told, and waiting out a dependency that is away."""

import logging
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
from django.db import DatabaseError, close_old_connections, connection

from zenith_site.common.errors import BrokerUnavailableError

logger = logging.getLogger(__name__)


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT.

    Not in the handler: `Event.set` takes a lock that the interrupted code may hold, such as the main thread in `stop.wait` or the
    handler of the signal before, and the process would never end. `SimpleQueue.put` may be called anywhere.
    """
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: told.put(received))

    def await_signal() -> None:
        told.get()
        stop.set()

    threading.Thread(target=await_signal, name="signals", daemon=True).start()


class Pause:
    """A growing wait between tries, said once per outage and once when it is over."""

    def __init__(self, stop: threading.Event, *, longest: float = 5.0) -> None:
        self._stop = stop
        self._longest = longest
        self._seconds = 0.0

    def after(self, who: str, error: Exception) -> None:
        """Wait after `error`: a tenth of a second at first, then twice as long each time."""
        if not self._seconds:
            logger.warning("%s waits: %s", who, str(error).strip() or type(error).__name__)
        self._seconds = min(max(self._seconds * 2, 0.1), self._longest)
        self._stop.wait(self._seconds)

    def reset(self) -> None:
        """Note that it works again."""
        if self._seconds:
            logger.warning("Back after an outage.")
        self._seconds = 0.0


@contextmanager
def with_fresh_connection() -> Iterator[None]:
    """Drop a database connection that broke, before and after the block."""
    if connection.connection is not None and connection.connection.closed:
        connection.close()
    close_old_connections()
    try:
        yield
    except BaseException:
        connection.close_if_unusable_or_obsolete()
        raise


def repeat(stop: threading.Event, who: str, step: Callable[[], object], *, every: float) -> None:
    """Call `step` until `stop` is set: at once again while it finds something to do, else after `every` seconds.

    A database or broker that is away is waited out; `who` names the loop in the log.
    """
    pause = Pause(stop)
    while not stop.is_set():
        try:
            with with_fresh_connection():
                while not stop.is_set() and step():
                    pass
            pause.reset()
            stop.wait(every)
        except (DatabaseError, redis.RedisError, BrokerUnavailableError) as error:
            pause.after(who, error)
