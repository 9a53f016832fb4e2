"""What the engine's endless loops share: ending when told, and waiting out a dependency that is away."""

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

#: Seconds of the longest pause after something that nobody foresaw.
LONGEST_PAUSE: Final = 30.0


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


#: Runs until the event is set.
Loop = Callable[[threading.Event], None]


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
        self.once_more()

    def once_more(self) -> None:
        """Wait, twice as long as the last time."""
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


def repeat(stop: threading.Event, part: str, step: Callable[[], object], *, every: float) -> None:
    """Call `step` until `stop` is set: at once again while it finds something to do, else after `every` seconds.

    A database or broker that is away is waited out. `part` names the loop in the log, as `keep_running` knows it.
    """
    pause = Pause(stop)
    while not stop.is_set():
        try:
            with with_fresh_connection():
                while not stop.is_set() and step():
                    pass
            pause.reset()
            stop.wait(every)
        except Exception as error:
            if not faults.is_away(error):
                raise
            pause.after(part, error)


def keep_running(stop: threading.Event, part: str, loop: Loop) -> None:
    """Run a loop until `stop` is set: whatever ends it before is a fault, after which it begins anew, later each time.

    So what one loop meets holds up no other one, and a process ends only when it is told to.
    """
    pause = Pause(stop, longest=LONGEST_PAUSE)
    while not stop.is_set():
        began = time.monotonic()
        try:
            loop(stop)
        except Exception as error:
            faults.record_fault(part, error)
        else:
            if not stop.is_set():
                faults.record_fault(part, RuntimeError("it ended without being told to"))
        finally:
            connection.close()
        if time.monotonic() - began > 2 * LONGEST_PAUSE:
            pause = Pause(stop, longest=LONGEST_PAUSE)
        pause.once_more()
