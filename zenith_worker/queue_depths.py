"""How many messages wait in the queues that an attached worker consumes: counted at the application's broker, and told in the
worker's heartbeat.

A thread with a connection of its own counts every few seconds; nothing waits for it, and a broker that does not answer is asked
less often. It counts as kombu does: the lists of each priority in Redis, with the application's own prefix and steps; of AMQP,
what a passive declaration answers. Of other transports it tells nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from celery import Celery, signals

from zenith_worker import broker
from zenith_worker.wire.heartbeat import DEPTHS_AT_MOST, Depth

logger = logging.getLogger(__name__)

#: Seconds between two counts; between two tries, at most, while the broker does not tell; and for which a count is told.
EVERY: Final = 5.0
PAUSE_AT_MOST: Final = 60.0
TOLD_FOR: Final = 30.0

_Counter = Callable[[Any, Sequence[str]], "list[Depth]"]


class QueueDepths:
    """The depths of the queues of this process's worker.

    Arguments:
        queues: returns the names of the queues that it consumes.
    """

    _running: QueueDepths | None = None

    def __init__(self, app: Celery, queues: Callable[[], Sequence[str]]) -> None:
        self._app, self._queues = app, queues
        self._stopped = threading.Event()
        self._connection: Any = None
        self._told: tuple[list[Depth], float] = ([], float("-inf"))

    @classmethod
    def start(cls, app: Celery, queues: Callable[[], Sequence[str]]) -> QueueDepths:
        """Start the thread, or go on with it once the worker's consumer was made anew."""
        if cls._running is None:
            cls._running = cls(app, queues)
            signals.worker_shutdown.connect(cls._running._end, weak=False)
            threading.Thread(target=cls._running._run, name="zenith-depths", daemon=True).start()
        cls._running._queues = queues
        return cls._running

    @property
    def told(self) -> tuple[list[Depth], float | None]:
        """The newest count, and how many seconds ago it was made; nothing and None if it is too old."""
        depths, counted_at = self._told
        age = time.monotonic() - counted_at
        return (depths, age) if age <= TOLD_FOR else ([], None)

    def _end(self, **_: Any) -> None:
        self._stopped.set()

    def _run(self) -> None:
        pause = EVERY
        while not self._stopped.is_set():
            try:
                if not self.count():
                    return
                pause = EVERY
            except Exception as error:  # of whatever transport
                logger.debug("The depths of queues could not be counted: %s", error)
                self._disconnect()
                pause = min(2 * pause, PAUSE_AT_MOST)
            self._stopped.wait(pause)
        self._disconnect()

    def count(self) -> bool:
        """Count once; return False if this transport never tells. Raises whatever the transport raises."""
        names = list(self._queues())[:DEPTHS_AT_MOST]
        if self._connection is None:
            self._connection = broker.connect(self._app, reads=True)
        counter = _COUNTERS.get(self._connection.transport.driver_type)
        if counter is None:
            self._disconnect()
            return False
        self._told = (counter(self._connection, names), time.monotonic())
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.release()


def _count_redis(connection: Any, names: Sequence[str]) -> list[Depth]:
    """Count in one round trip; a queue whose key holds something else is left out."""
    channel = connection.default_channel
    steps = channel.priority_steps
    with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
        for name in names:
            for step in steps:
                pipe.llen(channel._q_for_pri(name, step))
        lengths = iter(pipe.execute(raise_on_error=False))
    counted = [(name, [next(lengths) for _ in steps]) for name in names]
    return [Depth(name, sum(found)) for name, found in counted if all(type(length) is int for length in found)]


def _count_amqp(connection: Any, names: Sequence[str]) -> list[Depth]:
    """Count queue by queue; one that is not there, or not for this user, is left out. Its refusal closes the channel."""
    depths = []
    channel = connection.channel()
    for name in names:
        try:
            depths.append(Depth(name, channel.queue_declare(queue=name, passive=True).message_count))
        except connection.channel_errors:
            channel = connection.channel()
    channel.close()
    return depths


#: By the type of kombu's transport.
_COUNTERS: Final[dict[str, _Counter]] = {"redis": _count_redis, "amqp": _count_amqp}
