"""What the engine's endless loops share: waiting out a dependency that is away."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
from django.db import DatabaseError, close_old_connections, connection

from zenith_site.common.errors import BrokerUnavailableError

logger = logging.getLogger(__name__)


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
