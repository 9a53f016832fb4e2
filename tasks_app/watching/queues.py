"""Measures the queues of one watched application at its broker, every few seconds, without taking or writing anything.

Which queues there are is known from what workers consume, from events that name one, from the bindings in Redis, and from the
observer before this one. A queue in which nothing waits, and of which nothing has told for an hour, is forgotten. If measuring
all takes too long, those that were measured longest ago are the next ones.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import redis
from celery import Celery
from kombu.connection import Connection

from tasks_app.watching import amqp_queues, queue_state, redis_queues
from tasks_app.watching.asking import Round
from tasks_app.watching.declarations import Declaration
from tasks_app.watching.heard_workers import HeardWorkers
from tasks_app.watching.queue_state import ObservedQueue
from tasks_app.watching.redis_queues import Bindings
from zenith_worker.wire.keys import PRIORITY_SEPARATOR
from zenith_worker.wire.queue_names import may_hold_tasks

logger = logging.getLogger(__name__)

#: Seconds between two rounds, and for which one goes on.
MEASURE_EVERY: Final = 5.0
WITHIN: Final = 5.0
#: Queues of an application that are known at most.
MOST: Final = 500
#: The types of kombu's transports whose queues can be measured.
REDIS: Final = "redis"
AMQP: Final = "amqp"


class Queues:
    """The queues of an application. The rounds are made by one thread; `hear` and `separator_of` may be called by others."""

    def __init__(self, application: str, workers: HeardWorkers) -> None:
        self._application, self._workers = application, workers
        self._bindings = Bindings()
        self._queues: dict[str, ObservedQueue] = {}
        #: When something told of a queue, by the monotonic clock.
        self._told: dict[str, float] = {}
        #: Names from events, as keys: adding to a dictionary needs no lock.
        self._heard: dict[str, None] = {}
        self._separator = PRIORITY_SEPARATOR
        #: Queues of RabbitMQ that are removed once nobody uses them.
        self._expiring: set[str] = set()
        self._declared_before: frozenset[str] = frozenset()
        self._is_new = True
        self.round: Final = Round("its queues cannot be measured", MEASURE_EVERY, self._measure)

    def hear(self, queue: str) -> None:
        """Note that an event named a queue."""
        if len(self._heard) < MOST:
            self._heard[queue] = None

    def separator_of(self, queue: str) -> str | None:
        """Return what separates a queue's name from a priority in the names of its lists; None for a queue that is not known."""
        return self._separator if queue in self._queues else None

    def _measure(self, _: Celery, connection: Connection) -> None:
        self._recall()
        heard, self._heard = self._heard, {}
        declared = self._workers.declared()
        self._know([*heard, *declared])
        kind = connection.transport.driver_type
        if kind == REDIS:
            self._measure_redis(connection)
        elif kind == AMQP:
            self._measure_amqp(connection, declared)
        else:
            return
        self._forget()
        self._write()

    def _measure_redis(self, connection: Connection) -> None:
        with redis_queues.store_of(connection) as store:
            store.separator = self._separator
            self._know(self._bindings.queues(store, list(self._queues)))
            self._separator = store.separator
            found = redis_queues.measure(store, self._in_turn(), time.monotonic() + WITHIN)
        self._take(
            {
                name: {
                    "depth": None if lists.unreadable else sum(number for _, number in lists.depths),
                    "by_priority": lists.depths, "next_ids": lists.next_ids, "unreadable": lists.unreadable,
                }
                for name, lists in found.items()
            }
        )  # fmt: skip

    def _measure_amqp(self, connection: Connection, declared: Mapping[str, Declaration]) -> None:
        self._expiring.update(name for name, told in declared.items() if told.expires)
        # Asking counts as use: a queue that expires would stay for ever.
        names = [name for name in self._in_turn() if name in declared or name not in self._expiring]
        found = amqp_queues.measure(connection, names, time.monotonic() + WITHIN)
        self._take(
            {
                name: {
                    "depth": told.depth,
                    "consumers": told.consumers,
                    "missing": told.depth is None,
                    "settled": name in declared and name in self._declared_before,
                }
                for name, told in found.items()
            }
        )
        self._declared_before = frozenset(declared)
        self._queues = {
            name: replace(queue, queue_type=told.queue_type, max_priority=told.max_priority)
            if (told := declared.get(name)) is not None
            else queue
            for name, queue in self._queues.items()
        }

    def _take(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        now = time.time()
        changed = {name: replace(self._queues[name], at=now, **values) for name, values in found.items()}
        self._queues = self._queues | changed
        self._told.update(dict.fromkeys((name for name, queue in changed.items() if queue.depth), time.monotonic()))

    def _in_turn(self) -> list[str]:
        """Return all queues, those that were measured longest ago first."""
        return sorted(self._queues, key=lambda name: self._queues[name].at)

    def _know(self, names: Iterable[str]) -> None:
        """Note that something tells of these queues."""
        now = time.monotonic()
        for name in names:
            if name in self._queues:
                self._told[name] = now
            elif len(self._queues) < MOST and may_hold_tasks(name):
                self._queues = {**self._queues, name: ObservedQueue(name=name)}
                self._told[name] = now

    def _forget(self) -> None:
        before = time.monotonic() - queue_state.KEPT
        for name in [name for name, told in self._told.items() if told < before]:
            self._told.pop(name)
            self._expiring.discard(name)
            self._queues = {other: queue for other, queue in self._queues.items() if other != name}

    def _recall(self) -> None:
        """Take over the names that an earlier observer knew."""
        if self._is_new:
            try:
                self._know(queue_state.names(self._application))
                self._is_new = False
            except redis.RedisError as error:
                logger.debug("Zenith's Redis does not answer: %s", type(error).__name__)

    def _write(self) -> None:
        try:
            queue_state.write(self._application, self._queues.values())
        except redis.RedisError as error:
            # Not the broker's fault, which an error of a round would say.
            logger.debug("Zenith's Redis does not answer: %s", type(error).__name__)
