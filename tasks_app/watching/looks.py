"""Looking at the messages that wait in a queue of a watched application: the observer looks, whoever wants to know asks it.

Only engines can be sure to know the broker's URL: the web process may have another secret key. So it appends a request to a list
in Zenith's Redis and waits a few seconds for the answer, on a key of its own. Nothing is taken from the queue.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, NamedTuple
from uuid import uuid4

import redis
from celery import Celery

from tasks_app.watching import observer_state, redis_queues
from tasks_app.watching.brokers import Broker
from tasks_app.watching.reasons import reason_of
from tasks_app.watching.urls import is_redis
from zenith_site.common.errors import StateConflictError
from zenith_worker.wire.broker_message import BrokerMessage
from zenith_worker.wire.client import client
from zenith_worker.wire.keys import OBSERVER_LOOKS, OBSERVER_SAW

logger = logging.getLogger(__name__)

#: Seconds for which an answer is waited for, and for which one is kept that nobody fetches.
PATIENCE: Final = 5.0
SAW_KEPT: Final = 10
#: Requests of an application that wait at most; of more, the oldest are forgotten.
WAITING_AT_MOST: Final = 50
#: Seconds for which a request is waited for, and so how long stopping takes; and after which an unused connection is closed.
BLOCK: Final = 1.0
IDLE: Final = 30.0

NOT_ON_RABBITMQ: Final = "RabbitMQ shows no message without taking it"
UNKNOWN_QUEUE: Final = "the observer does not know it"


class Look(NamedTuple):
    """A request for the next messages of a queue, `limit` of each priority step."""

    queue: str
    limit: int
    token: str


class NotSeenError(StateConflictError):
    """The observer did not look, or could not; the text says why."""


def look(application: str, queue: str, limit: int) -> list[BrokerMessage]:
    """Return the next messages of a queue, as its observer sees them now. Raises NotSeenError or redis.RedisError."""
    state = observer_state.read(application)
    if state is None or not state.listens:
        why = state.reason if state is not None and state.reason else "no engine runs its observer"
        raise NotSeenError(f"The broker of {application} is not watched now: {why}.")
    token, key = uuid4().hex, OBSERVER_LOOKS + application
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(key, json.dumps([queue, limit, token]))
        pipe.ltrim(key, -WAITING_AT_MOST, -1)
        pipe.expire(key, int(PATIENCE))
        pipe.execute()
    reply: Any = client().blpop([OBSERVER_SAW + token], timeout=PATIENCE)
    if reply is None:
        raise NotSeenError(f"The observer of {application} did not answer within {PATIENCE:g} seconds.")
    found, reason = json.loads(reply[1])
    if reason:
        raise NotSeenError(f"The queue {queue} cannot be looked into: {reason}.")
    return [BrokerMessage(**item) for item in found]


def take(application: str, block: float) -> Look | None:
    """Return the next request, waiting some seconds for one. Raises redis.RedisError."""
    row: Any = client().blpop([OBSERVER_LOOKS + application], timeout=block)
    try:
        return None if row is None else Look(*json.loads(row[1]))
    except (ValueError, TypeError):
        return None  # of another release


def answer(request: Look, messages: list[BrokerMessage], reason: str = "") -> None:
    """Answer a request: with messages, or with why there are none. Raises redis.RedisError."""
    key = OBSERVER_SAW + request.token
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(key, json.dumps([[asdict(message) for message in messages], reason]))
        pipe.expire(key, SAW_KEPT)
        pipe.execute()


class Looking:
    """Answers requests until `stop` is set, over a connection that is open only while somebody asks.

    Arguments:
        separator_of: returns how the application separates a queue's name from a priority, if it has that queue, else None: other
            keys of its Redis are none of ours.
    """

    def __init__(
        self, name: str, broker: Broker, make_app: Callable[[Broker], Celery], stop: threading.Event,
        separator_of: Callable[[str], str | None],
    ) -> None:  # fmt: skip
        self._name, self._broker, self._make_app, self._stop = name, broker, make_app, stop
        self._separator_of = separator_of
        self._used_at = 0.0

    def run(self) -> None:
        """Answer until the end."""
        app = self._make_app(self._broker)
        try:
            while not self._stop.is_set():
                self._step(app)
        finally:
            app.close()

    def _step(self, app: Celery) -> None:
        try:
            request = take(self._name, BLOCK)
            if request is not None:
                answer(request, *self._seen(app, request))
                self._used_at = time.monotonic()
            elif self._used_at and time.monotonic() - self._used_at > IDLE:
                app.pool.force_close_all()
                self._used_at = 0.0
        except redis.RedisError as error:
            logger.debug("Zenith's Redis does not answer: %s", type(error).__name__)
            self._stop.wait(BLOCK)

    def _seen(self, app: Celery, request: Look) -> tuple[list[BrokerMessage], str]:
        separator = self._separator_of(request.queue)
        if not is_redis(self._broker.url) or separator is None:
            return [], UNKNOWN_QUEUE if separator is None else NOT_ON_RABBITMQ
        try:
            with app.connection_or_acquire() as connection, redis_queues.store_of(connection) as store:
                store.separator = separator
                return redis_queues.peek(store, request.queue, request.limit), ""
        except Exception as error:  # whatever kombu and the drivers raise
            app.pool.force_close_all()
            return [], reason_of(error)
