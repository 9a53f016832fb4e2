"""Kombu's Redis transport with a shorter way to take and acknowledge a message.

For every message a worker runs two small transactions against Redis: one notes the message as
unacknowledged, one removes the note. Kombu makes a new client object and a pipeline object for
each; that is half of what a short task costs the worker's main process. Here the same commands,
on the same keys, go over one kept connection. Everything else is kombu's, and a worker that runs
with kombu's own transport can share the queues.

In the same transactions each worker notes which messages it holds (`TAKEN`), so that the reconciler
knows whose they were when a worker dies. Kombu's own bookkeeping names no owner.

A message that was taken out of its queue, and of which Redis then refuses the note because its memory or
its disk is full, is in no place but this process. It is put back as soon as Redis accepts it; kombu drops it.

What somebody put into a queue's list and is no message at all is set aside with the reason; it ends kombu's worker.

Chosen by CELERY_BROKER_TRANSPORT; docs/performance.md has the figures.
"""

import json
import logging
import threading
from contextlib import suppress
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
from zenith_worker.wire.keys import TAKEN
from zenith_worker.wire.stream import Entry, set_aside

logger = logging.getLogger(__name__)


class _Line:
    """One connection out of a channel's pool, for small transactions; safe to share by threads."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self._connection = pool.get_connection()
        self._lock = threading.Lock()
        self._unread = 0

    def transact(self, *commands: tuple[Any, ...], wait: bool = True) -> None:
        """Run commands in one MULTI/EXEC. Raises redis.RedisError; then none or all were run.

        Without `wait` the answers are left to be read before the next transaction: the process need
        not sleep for them, and what goes wrong with this one stays unknown.
        """
        with self._lock:
            with suppress(redis.RedisError):
                self._read_answers()
            if self._unread:
                self._unread = 0
                self._connection.disconnect()
            try:
                connection = self._connection
                connection.send_packed_command(connection.pack_commands([("MULTI",), *commands, ("EXEC",)]), check_health=False)
                self._unread = len(commands) + 2
                if wait:
                    self._read_answers()
            except BaseException:
                # Answers may be left to read: nobody must take them for their own.
                self._unread = 0
                self._connection.disconnect()
                raise

    def _read_answers(self) -> None:
        # A command that is refused makes EXEC fail, which is read last.
        while self._unread:
            self._connection.read_response()
            self._unread -= 1


class QoS(kombu_redis.QoS):
    """Kombu's bookkeeping of unacknowledged messages, over a kept connection."""

    _line: _Line | None = None

    #: Messages without a place in Redis: body, exchange, routing key. One connection's errors end it, and the next puts back.
    homeless: Final[list[tuple[Any, str, str]]] = []

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message as taken but not acknowledged."""
        info = message.delivery_info
        note = dumps([message._raw, info["exchange"], info["routing_key"]])
        try:
            self._transact(
                ("ZADD", self._key(self.unacked_index_key), time(), delivery_tag),
                ("HSET", self._key(self.unacked_key), delivery_tag, note),
                ("HSET", self._key(TAKEN), delivery_tag, instance()),
            )
        except redis.RedisError:
            self.homeless.append((message._raw, info["exchange"], info["routing_key"]))
            raise
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Remove the note: the message is done with."""
        try:
            self._transact(
                ("ZREM", self._key(self.unacked_index_key), delivery_tag),
                ("HDEL", self._key(self.unacked_key), delivery_tag),
                ("HDEL", self._key(TAKEN), delivery_tag),
                # An acknowledgement that gets lost means one more delivery, which is not run again.
                wait=False,
            )
        finally:
            # Also where it was lost for certain: kombu may go on over this channel, and this process must not claim for ever to
            # hold the message. The reconciler then finds it forgotten.
            virtual.QoS.ack(self, delivery_tag)

    def held(self) -> set[str]:
        """Return the delivery tags that this connection took and did not acknowledge yet; for any thread."""
        return set(self._delivered) - set(self._dirty)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Forget a message that is rejected or put back; kombu's own commands, and ours."""
        remove: Any = super()._remove_from_indices
        return remove(delivery_tag, pipe).hdel(TAKEN, delivery_tag)

    def _transact(self, *commands: tuple[Any, ...], wait: bool = True) -> None:
        # The channel drops its pool when the connection is lost, and makes a new one.
        pool = self.channel.pool
        if self._line is None or self._line.pool is not pool:
            self._line = _Line(pool)
        try:
            self._line.transact(*commands, wait=wait)
        except redis.ConnectionError:
            # It may have died while it was idle; each of these commands bears being run twice.
            self._line.transact(*commands, wait=wait)

    def _key(self, key: str) -> str:
        return f"{self.channel.global_keyprefix}{key}"


class UnreadableMessageError(ValueError):
    """What lay in a queue is no message of kombu's."""


class Message(virtual.Message):
    """Kombu's message, which says of one that cannot be read that it cannot."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            make: Any = super().__init__
            make(payload, channel=channel, **options)
            _check(self.delivery_tag, self.delivery_info["exchange"], self.delivery_info["routing_key"])
        except Exception as error:
            raise UnreadableMessageError(f"{type(error).__name__}: {error}") from error


def _check(*texts: Any) -> None:
    """Raise TypeError for what kombu takes for text without looking, and could not be written to Redis."""
    for item in texts:
        if not isinstance(item, str):
            raise TypeError(f"{item!r:.50} is no text")
        item.encode()


class Channel(kombu_redis.Channel):
    """Kombu's channel, which keeps its client instead of making one for every command."""

    QoS = QoS
    Message = Message
    _kept: Any = None
    #: kombu gives up pipelining where any retry is configured, since a pipeline may be sent twice by
    #: it; the one below never retries.
    supports_batch_publish = True

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for the next message, after those that have no place were put back."""
        restore: Any = self._do_restore_message
        ask: Any = super()._brpop_start
        while QoS.homeless:
            # Before it is taken from the list: Redis may still refuse it, and says so with an error that ends this connection.
            with self.conn_or_acquire() as client, client.pipeline() as pipe:
                restore(*QoS.homeless[0], pipe)
                pipe.execute()
            QoS.homeless.pop(0)
        ask(timeout)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Give up at once where the broker refuses connections: whoever publishes holds rows locked.

        On a channel that is closed kombu fails with an AttributeError, which ends the worker: an outage
        closes the channel while tasks run that want to be acknowledged afterwards.
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
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = create()
        return self._kept


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport with the channel above."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        deliver: Any = super()._deliver
        try:
            deliver(message, queue)
        except UnreadableMessageError as error:
            _set_aside(queue, dumps(message).encode(), error)


def _taken(answer: Any, **_: Any) -> Any:
    """Return what Redis answered to BRPOP, as redis-py does; nothing where it is no message, which is set aside."""
    if not answer:
        return None
    queue, raw = answer
    try:
        if not isinstance(json.loads(raw), dict):
            raise TypeError("it is no object")
    except (ValueError, TypeError, RecursionError) as error:
        _set_aside(text(queue), raw, error)
        return None
    return queue, raw


def _set_aside(queue: str, raw: bytes, error: Exception) -> None:
    reason = f"it lay in queue {queue[:100]} and is no message: {type(error).__name__}: {error}"
    logger.error("Something was set aside: %s", reason)
    try:
        set_aside(Entry("0-0", raw), reason)
    except redis.RedisError as away:
        # It was taken by what took it: nobody can put it anywhere.
        logger.error("It is lost, as Redis is away: %s [%r]", away, raw[:1000])
