"""Kombu's Redis transport, which notes who holds each message: what the guard `recovery` needs of a worker's connection.

Everything else is kombu's, on kombu's keys, with the application's own options. The note is one more field in the transaction in
which kombu records a message as unacknowledged, and is removed in those that remove the record (wire/held_messages.py).

Unlike the transport of Zenith's own workers, this one waits for Redis' answers as kombu does: without claims, an acknowledgement
that got lost unnoticed would run the task again.
"""

from __future__ import annotations

import logging
from time import time
from typing import Any, Final

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps

from zenith_worker.wire.client import text
from zenith_worker.wire.held_messages import Owner
from zenith_worker.wire.instance import instance
from zenith_worker.wire.kept_connection import KeptConnectionQoS
from zenith_worker.wire.keys import own_application, recovery_keys

logger = logging.getLogger(__name__)


class Holdings:
    """The messages that this process took and that have not left it yet, by delivery tag; safe for threads.

    Attributes:
        notes: the owner's note of each.
        done: those to be acknowledged, whose acknowledgement has not reached the broker.
        unrecorded: those of which Redis refused the record, or may have: kombu would lose them.
    """

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.done: dict[str, str] = {}
        self.unrecorded: dict[str, bytes | str] = {}

    def take(self, tag: str, note: str) -> None:
        """Add a message; the same tag comes again if the message was put back."""
        self.remove(tag)
        self.notes[tag] = note

    def finish(self, tag: str, note: str) -> None:
        """Mark a message as to be acknowledged, unless it was taken anew under its tag."""
        if note and self.notes.get(tag) == note:
            self.done[tag] = note

    def remove(self, tag: str, note: str | None = None) -> None:
        """Remove a message, with a note only if it was not taken anew under its tag."""
        if note is None or self.notes.get(tag) == note:
            for of_tag in (self.notes, self.done, self.unrecorded):
                of_tag.pop(tag, None)


HOLDINGS: Final = Holdings()


class QoS(KeptConnectionQoS):
    """Kombu's records of unacknowledged messages, with their owner."""

    def __init__(self, *args: Any, **options: Any) -> None:
        make: Any = super().__init__
        make(*args, **options)
        self._notes: dict[str, str] = {}
        self._refused = False

    def append(self, message: Any, delivery_tag: str) -> None:
        """Record a message as taken but not acknowledged, and by whom."""
        record_only: Any = super().append
        place, info, taken_at = self._place(message), message.delivery_info, time()
        if not place or self._refused:
            record_only(message, delivery_tag)
            return
        note = Owner(instance(), repr(taken_at), place).note
        HOLDINGS.take(delivery_tag, note)
        record = dumps([message._raw, info["exchange"], info["routing_key"]])
        try:
            self._run(
                ("ZADD", self._key(self.unacked_index_key), taken_at, delivery_tag),
                ("HSET", self._key(self.unacked_key), delivery_tag, record),
                ("HSET", self._key(self._taken_key), delivery_tag, note),
            )
        except redis.RedisError as error:
            HOLDINGS.unrecorded[delivery_tag] = dumps(message._raw)
            if not isinstance(error, redis.ResponseError):
                raise
            # Perhaps only the note is refused, for want of rights or because something else lies there: kombu would lose this
            # message with its worker, and then the next one.
            record_only(message, delivery_tag)
            HOLDINGS.remove(delivery_tag)
            self._refused = True
            logger.warning("The guard `recovery` does nothing for this worker: its note was refused: %s", error)
            return
        self._notes[delivery_tag] = note
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Remove the record of a message that is done.

        If that fails, or the channel is closed because the connection broke meanwhile, the guard's thread does it: the task must
        not run again. Kombu would end such a worker with an AttributeError.
        """
        note = self._notes.pop(delivery_tag, "")
        HOLDINGS.finish(delivery_tag, note)
        try:
            if self._is_open():
                self._run(
                    ("ZREM", self._key(self.unacked_index_key), delivery_tag),
                    ("HDEL", self._key(self.unacked_key), delivery_tag),
                    *([] if self._refused else [("HDEL", self._key(self._taken_key), delivery_tag)]),
                )
                HOLDINGS.remove(delivery_tag, note)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or put it back; if the channel is closed, the guard's thread does it."""
        if not requeue:
            HOLDINGS.finish(delivery_tag, self._notes.get(delivery_tag, ""))
        if self._is_open():
            reject: Any = super().reject
            reject(delivery_tag, requeue=requeue)
            self._forget(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what a closing channel holds; if its broker is away by then, the guard's thread does it.

        Kombu would end such a worker with an AttributeError.
        """
        if self._is_open():
            restore: Any = super().restore_unacked
            restore(client)
        else:
            self._delivered.clear()

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back, of whichever worker: also one whose visibility timeout is over."""
        restore: Any = super().restore_by_tag
        restore(tag, client, leftmost)
        self._forget(text(tag))

    def held(self) -> set[str]:
        """Return the delivery tags that this channel took and has not acknowledged yet; for any thread."""
        return set(self._delivered) - set(self._dirty)

    def _remove_from_indices(self, delivery_tag: Any, pipe: Any = None) -> Any:
        remove: Any = super()._remove_from_indices
        removing = remove(delivery_tag, pipe)
        return removing if self._refused else removing.hdel(self._taken_key, delivery_tag)

    def _run(self, *commands: tuple[Any, ...]) -> None:
        for answer in self._transact(*commands):
            if isinstance(answer, redis.RedisError):
                raise answer

    def _forget(self, tag: str) -> None:
        note = self._notes.pop(tag, "")
        if note:
            HOLDINGS.remove(tag, note)

    def _is_open(self) -> bool:
        """Whether the channel can speak to its broker; if that is away, closing leaves half a connection."""
        connection = self.channel.connection
        return connection is not None and connection.client is not None

    def _place(self, message: Any) -> str:
        """Return the list that the message came from; empty if it was fetched in another way."""
        queue = self.channel.connection.delivering
        return (
            str(self.channel._q_for_pri(queue, self.channel._get_message_priority(message._raw, reverse=False))) if queue else ""
        )

    @property
    def _taken_key(self) -> str:
        return recovery_keys(own_application()).taken


class Channel(kombu_redis.Channel):
    """Kombu's channel, with the records above."""

    QoS = QoS


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport, with the channel above.

    Attributes:
        delivering: the queue whose message is delivered at the moment.
    """

    Channel = Channel
    delivering: str = ""

    def _deliver(self, message: Any, queue: str) -> None:
        deliver: Any = super()._deliver
        self.delivering = queue
        try:
            deliver(message, queue)
        finally:
            self.delivering = ""


def note_owners(connection: Any) -> Any:
    """Let a connection that is not open yet use the transport above if it is one to a Redis, also after a fail-over; return it.

    Nothing else of the process is changed. A transport of the application's own stays, and so does that for Redis Sentinel.
    """
    choose = connection.get_transport_cls

    def choose_noting() -> Any:
        chosen = choose()
        return Transport if chosen is kombu_redis.Transport else chosen

    connection.get_transport_cls = choose_noting
    return connection


def why_unguarded(connection: Any) -> str:
    """Return why `recovery` does nothing for an open connection; empty if it does."""
    transport = connection.transport
    if isinstance(transport, Transport):
        emulates = connection.default_channel.ack_emulation
        return "" if emulates else "`ack_emulation` is off, so that the broker keeps nothing that a worker took"
    if isinstance(transport, kombu_redis.SentinelTransport):
        return "with Redis Sentinel the broker may be another server after a fail-over, which may not know who held a message"
    if isinstance(transport, kombu_redis.Transport):
        return f"its connection is made in a way of its own ({type(transport).__module__}:{type(transport).__qualname__})"
    if transport.driver_type == "amqp":
        return "the broker itself delivers again what a worker had not acknowledged, as soon as its connection ends"
    return f"this is for a broker that is one Redis; with {transport.driver_type} the broker decides when messages come back"
