"""Kombu's Redis transport with a faster way to take and acknowledge a message.

For every message a worker runs two small transactions in Redis: one records the message as unacknowledged, one removes the
record. Kombu creates a new client object and a pipeline object for each, which is half of what a short task costs the worker's
main process. Here the same commands, on the same keys, use one persistent connection. Everything else is kombu's, and a worker
with kombu's own transport can share the queues.

In the same transactions each worker records which messages it holds (`TAKEN`), so that the reconciler knows their owner when a
worker dies. Kombu's own records name no owner.

If a message was taken from its queue, and Redis then refuses the record because its memory or its disk is full, the message is
only in this process. It is put back as soon as Redis accepts it; kombu would drop it.

Something in a queue's list that is not a message is set aside with the reason; it would end kombu's worker.

CELERY_BROKER_TRANSPORT selects this transport; docs/performance.md has the figures.
"""

from __future__ import annotations

import json
import logging
from time import time
from typing import Any, Final

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis.backoff import NoBackoff
from redis.retry import Retry

from zenith_worker.wire.client import text
from zenith_worker.wire.instance import instance
from zenith_worker.wire.kept_connection import KeptConnectionQoS
from zenith_worker.wire.keys import TAKEN
from zenith_worker.wire.stream import Entry, set_aside

logger = logging.getLogger(__name__)


class QoS(KeptConnectionQoS):
    """Kombu's records of unacknowledged messages, over a persistent connection."""

    #: Messages that are not in Redis: body, exchange, routing key. An error ends the connection, and the next one puts them back.
    unplaced: Final[list[tuple[Any, str, str]]] = []

    def append(self, message: Any, delivery_tag: str) -> None:
        """Record a message as taken but not acknowledged."""
        info = message.delivery_info
        record = dumps([message._raw, info["exchange"], info["routing_key"]])
        try:
            self._transact(
                ("ZADD", self._key(self.unacked_index_key), time(), delivery_tag),
                ("HSET", self._key(self.unacked_key), delivery_tag, record),
                ("HSET", self._key(TAKEN), delivery_tag, instance()),
            )
        except redis.RedisError:
            self.unplaced.append((message._raw, info["exchange"], info["routing_key"]))
            raise
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Remove the record of a message that is done."""
        try:
            self._transact(
                ("ZREM", self._key(self.unacked_index_key), delivery_tag),
                ("HDEL", self._key(self.unacked_key), delivery_tag),
                ("HDEL", self._key(TAKEN), delivery_tag),
                # A lost acknowledgement means one more delivery, which does not run again.
                wait=False,
            )
        finally:
            # Even if it was certainly lost: kombu may continue with this channel, and this process must not claim for ever that
            # it holds the message. The reconciler then puts it back.
            virtual.QoS.ack(self, delivery_tag)

    def held(self) -> set[str]:
        """Return the delivery tags that this connection took and has not acknowledged yet; for any thread."""
        return set(self._delivered) - set(self._dirty)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Remove the records of a message that is rejected or put back: kombu's and ours."""
        remove: Any = super()._remove_from_indices
        return remove(delivery_tag, pipe).hdel(TAKEN, delivery_tag)


class UnreadableMessageError(ValueError):
    """Something in a queue is not a message of kombu's."""


class Message(virtual.Message):
    """Kombu's message, with UnreadableMessageError for one that cannot be read."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            make: Any = super().__init__
            make(payload, channel=channel, **options)
            _check(self.delivery_tag, self.delivery_info["exchange"], self.delivery_info["routing_key"])
        except Exception as error:
            raise UnreadableMessageError(f"{type(error).__name__}: {error}") from error


def _check(*texts: Any) -> None:
    """Raise TypeError for a value that kombu takes for text unchecked, and that could not be written to Redis."""
    for item in texts:
        if not isinstance(item, str):
            raise TypeError(f"{item!r:.50} is not text")
        item.encode()


class Channel(kombu_redis.Channel):
    """Kombu's channel, which keeps its client instead of creating one for every command."""

    QoS = QoS
    Message = Message
    _kept_client: Any = None
    #: kombu disables pipelining if any retry is configured, since that might send a pipeline twice; the retry below never does.
    supports_batch_publish = True

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Request the next message, after putting back those that are not in Redis."""
        restore: Any = self._do_restore_message
        ask: Any = super()._brpop_start
        while QoS.unplaced:
            # Before it is removed from the list: Redis may refuse it again, with an error that ends this connection.
            with self.conn_or_acquire() as client, client.pipeline() as pipe:
                restore(*QoS.unplaced[0], pipe)
                pipe.execute()
            QoS.unplaced.pop(0)
        ask(timeout)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Fail immediately if the broker refuses connections, because the publisher holds locks on rows.

        On a closed channel kombu would fail with an AttributeError, which ends the worker: an outage closes the channel while
        tasks run that must be acknowledged afterwards.
        """
        if getattr(self.connection, "client", None) is None:
            raise redis.ConnectionError("this channel's connection is closed")
        params: Any = super()._connparams
        return {**params(asynchronous=asynchronous), "retry": Retry(NoBackoff(), retries=0)}

    def _create_client(self, asynchronous: bool = False) -> Any:
        create: Any = super()._create_client
        if asynchronous:
            taking = create(asynchronous=True)
            taking.set_response_callback("BRPOP", _taken)
            return taking
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = create()
        return self._kept_client


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport, with the channel above."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        deliver: Any = super()._deliver
        try:
            deliver(message, queue)
        except UnreadableMessageError as error:
            _set_aside(queue, dumps(message).encode(), error)


def _taken(answer: Any, **_: Any) -> Any:
    """Return Redis' answer to BRPOP, as redis-py does; None for something that is not a message, which is set aside."""
    if not answer:
        return None
    queue, raw = answer
    try:
        if not isinstance(json.loads(raw), dict):
            raise TypeError("it is not an object")
    except (ValueError, TypeError, RecursionError) as error:
        _set_aside(text(queue), raw, error)
        return None
    return queue, raw


def _set_aside(queue: str, raw: bytes, error: Exception) -> None:
    reason = f"it was in queue {queue[:100]} and is not a message: {type(error).__name__}: {error}"
    logger.error("Something was set aside: %s", reason)
    try:
        set_aside(Entry("0-0", raw), reason)
    except redis.RedisError as redis_error:
        # It is no longer in the queue, and cannot be stored anywhere.
        logger.error("It is lost, because Redis is unreachable: %s [%r]", redis_error, raw[:1000])
