"""Looking at the messages that wait in a queue of a watched application: the observer looks, whoever wants to know asks it.

Nothing is taken from the queue. How a request travels: requests.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from celery import Celery

from tasks_app.errors import CommandWithdrawnError
from tasks_app.watching import observer_state, redis_queues
from tasks_app.watching.brokers import Broker, opened
from tasks_app.watching.reasons import reason_of
from tasks_app.watching.requests import LOOK, Answer, ask_observer
from tasks_app.watching.urls import is_redis
from zenith_site.common.errors import StateConflictError
from zenith_site.common.jsonsafe import bounded
from zenith_worker.wire import control
from zenith_worker.wire.broker_message import BrokerMessage
from zenith_worker.wire.control import Request

NOT_ON_RABBITMQ: Final = "RabbitMQ shows no message without taking it"
UNKNOWN_QUEUE: Final = "the observer does not know it"


class NotSeenError(StateConflictError):
    """The observer did not look, or could not; the text says why."""


def look(application: str, queue: str, limit: int) -> list[BrokerMessage]:
    """Return the next messages of a queue, as its observer sees them now. Raises NotSeenError or redis.RedisError."""
    state = observer_state.read(application)
    if state is None or not state.listens:
        why = state.reason if state is not None and state.reason else "no engine runs its observer"
        raise NotSeenError(f"The broker of {application} is not watched now: {why}.")
    try:
        found = ask_observer(application, LOOK, {"queue": queue, "limit": limit})
    except ValueError as error:
        found = Answer(None, str(error))
    except CommandWithdrawnError:
        found = Answer(None)
    if found.error:
        raise NotSeenError(f"The queue {queue} cannot be looked into: {found.error}.")
    if found.value is None:
        raise NotSeenError(f"The observer of {application} did not answer within {control.PATIENCE:g} seconds.")
    return [BrokerMessage(**item) for item in found.value]


def see(app: Celery, request: Request, broker: Broker, separator_of: Callable[[str], str | None]) -> Answer:
    """Carry out a request for a look; return the messages, or why there are none. Nothing of it shows the broker's URL.

    `separator_of` returns how the application separates a queue's name from a priority, if it has that queue, else None: other
    keys of its Redis are none of ours.
    """
    queue, limit = request.arguments.get("queue", ""), request.arguments.get("limit", 1)
    separator = separator_of(queue)
    if not is_redis(broker.url) or separator is None:
        return Answer([], UNKNOWN_QUEUE if separator is None else NOT_ON_RABBITMQ)
    try:
        with opened(app) as connection, redis_queues.store_of(connection) as store:
            store.separator = separator
            return Answer([_as_json(message) for message in redis_queues.peek(store, queue, limit)])
    except Exception as error:  # whatever kombu and the drivers raise
        return Answer([], reason_of(error))


def _as_json(message: BrokerMessage) -> dict[str, Any]:
    """Cut what a stranger has nested so deep that whoever reads the answer could read none of the messages."""
    return asdict(replace(message, args=bounded(message.args), kwargs=bounded(message.kwargs)))
