"""What the engine's endless loops share: stopping on request, and waiting for an unreachable server."""

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from django.db import close_old_connections, connection

from zenith_site.common import faults

logger = logging.getLogger(__name__)

#: Seconds of the longest pause after an unexpected error.
LONGEST_PAUSE: Final = 30.0


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT.

    The handler itself must not set it: `Event.set` takes a lock that the interrupted code may hold, such as the main thread in
    `stop.wait` or an earlier signal's handler, and the process would never end. `SimpleQueue.put` is safe in a handler.
    """
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: signals.put(received))

    def await_signal() -> None:
        signals.get()
        stop.set()

    threading.Thread(target=await_signal, name="signals", daemon=True).start()


#: Runs until the event is set.
Loop = Callable[[threading.Event], None]


class Backoff:
    """A growing pause between attempts; logs once when an outage begins and once when it is over."""

    def __init__(self, stop: threading.Event, *, longest: float = 5.0) -> None:
        self._stop = stop
        self._longest = longest
        self._seconds = 0.0

    def wait_after(self, who: str, error: Exception) -> None:
        """Wait after `error`: 0.1 s at first, then twice as long each time."""
        if not self._seconds:
            logger.warning("%s is waiting: %s", who, str(error).strip() or type(error).__name__)
        self.wait()

    def wait(self) -> None:
        """Wait twice as long as the last time."""
        self._seconds = min(max(self._seconds * 2, 0.1), self._longest)
        self._stop.wait(self._seconds)

    def reset(self) -> None:
        """Start over at the shortest pause: it works again."""
        if self._seconds:
            logger.warning("Back after an outage.")
        self._seconds = 0.0


@contextmanager
def with_fresh_connection() -> Iterator[None]:
    """Drop a broken database connection, before and after the block."""
    if connection.connection is not None and connection.connection.closed:
        connection.close()
    close_old_connections()
    try:
        yield
    except BaseException:
        connection.close_if_unusable_or_obsolete()
        raise


def repeat(stop: threading.Event, part: str, step: Callable[[], object], *, every: float) -> None:
    """Call `step` until `stop` is set: again immediately if it returned true (there is more to do), else after `every` seconds.

    An unreachable database or broker is waited for. `part` is the loop's name in the log, the same as in `keep_running`.
    """
    backoff = Backoff(stop)
    while not stop.is_set():
        try:
            with with_fresh_connection():
                while not stop.is_set() and step():
                    pass
            backoff.reset()
            stop.wait(every)
        except Exception as error:
            if not faults.is_unreachable(error):
                raise
            backoff.wait_after(part, error)


def keep_running(stop: threading.Event, part: str, loop: Loop) -> None:
    """Run a loop until `stop` is set. If it ends before, that is a fault, and the loop restarts with a growing back-off.

    So one failing loop does not block the others, and a process ends only on request.
    """
    backoff = Backoff(stop, longest=LONGEST_PAUSE)
    while not stop.is_set():
        started_at = time.monotonic()
        try:
            loop(stop)
        except Exception as error:
            faults.record_fault(part, error)
        else:
            if not stop.is_set():
                faults.record_fault(part, RuntimeError("it ended unexpectedly"))
        finally:
            connection.close()
        if time.monotonic() - started_at > 2 * LONGEST_PAUSE:
            backoff = Backoff(stop, longest=LONGEST_PAUSE)
        backoff.wait()
