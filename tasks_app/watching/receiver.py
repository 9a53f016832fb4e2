"""Receives the events that workers tell everybody: Celery's own queue of an event receiver, decoded without running code."""

from __future__ import annotations

import binascii
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from celery import Celery
from celery.events import EventReceiver
from kombu.connection import Connection
from kombu.message import Message
from kombu.messaging import Consumer
from kombu.serialization import prepare_accept_content

from tasks_app.watching.subscription import subscription_of

logger = logging.getLogger(__name__)

#: Bytes of a message that is looked at. Celery gathers at most 24 events in one.
LARGEST: Final = 16 * 2**20
#: Seconds for which nothing arrived before a message that did not wait.
IDLE: Final = 0.05
#: Seconds between two checks of the connection's heartbeats, if the broker has any.
CHECK_EVERY: Final = 1.0
_JSON: Final = "application/json"


class Received(NamedTuple):
    """An event and when it arrived, as Unix time in seconds; `waited`: it may have waited for this receiver."""

    event: dict[str, Any]
    at: float
    waited: bool = True


class Receiver:
    """One connection's receiver. Messages of Redis are read and opened without kombu, as far as they are like Celery's own.

    Arguments:
        take: is called with the events of each message.
        odd: is called with a message that holds no events, and the reason.
        name: of the queue; another receiver must have another one.
    """

    def __init__(
        self, app: Celery, connection: Connection, name: str, take: Callable[[list[Received]], None],
        odd: Callable[[bytes, str], None],
    ) -> None:  # fmt: skip
        self._take, self._odd, self._connection = take, odd, connection
        self._next_check = 0.0
        # Since when it has nothing to read, by the monotonic clock.
        self._idle_since = float("inf")
        # Not taken from a pool: it lives as long as this receiver.
        channel = connection.default_channel
        self._events = EventReceiver(channel, app=app, node_id=name)
        self._accept = prepare_accept_content(app.conf.accept_content)
        self._consumer = Consumer(channel, queues=[self._events.queue], no_ack=True, on_message=self._on_message)
        self._subscription = subscription_of(channel, self._on_published)

    def __enter__(self) -> Receiver:
        self._consumer.consume()
        # kombu subscribes to Redis when it first waits: before that, nothing would be heard.
        self.wait(0.01)
        # Every worker tells at once that it is there, as Celery's own receiver asks.
        self._events.wakeup_workers(channel=self._consumer.channel)
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.cancel()

    def enable_events(self) -> None:
        """Have all workers send events. Raises what kombu raises for a lost connection."""
        self._events.app.control.broadcast("enable_events", connection=self._connection, channel=self._consumer.channel)

    def wait(self, seconds: float) -> bool:
        """Receive one more message, or what has arrived, within some seconds; return whether there was any.

        Raises what kombu raises for a lost connection.
        """
        heard = False
        if self._subscription is not None and self._subscription.has_more:
            heard = self._subscription.read()
        else:
            self._idle_since = time.monotonic()
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=seconds)
                heard = True
        now = time.monotonic()
        if now >= self._next_check:
            # Also while events come without a pause: RabbitMQ closes a connection that says nothing.
            self._next_check = now + CHECK_EVERY
            self._connection.heartbeat_check()
        return heard

    def _on_published(self, data: bytes) -> None:
        """Take what Redis published: a message in kombu's envelope."""
        try:
            opened = self._open(data)
        except Exception as error:  # whatever a decoder raises for what strangers send
            self._odd(data[:2000], f"it cannot be opened: {type(error).__name__}")
            return
        if isinstance(opened, bytes):
            self._on_body(opened, lambda: json.loads(opened))
        else:
            self._on_message(opened)

    def _open(self, data: bytes) -> bytes | Message:
        """Return the body in an envelope, if it is JSON as Celery writes it; else the message as kombu opens it."""
        if len(data) > 2 * LARGEST:
            raise ValueError("too large")
        envelope = json.loads(data)
        is_plain = (
            envelope["content-type"] == _JSON
            and envelope["properties"].get("body_encoding") == "base64"
            and not (envelope["headers"] or {}).get("compression")
        )
        if is_plain:
            return binascii.a2b_base64(envelope["body"])
        channel: Any = self._consumer.channel
        return channel.Message(envelope, channel=channel)  # type: ignore[no-any-return] # kombu has no types for it

    def _on_message(self, message: Message) -> None:
        self._on_body(message.body, lambda: self._decode(message))

    def _on_body(self, raw: Any, decode: Callable[[], Any]) -> None:
        now, waited = time.time(), time.monotonic() - self._idle_since < IDLE
        self._idle_since = float("inf")
        try:
            if len(raw or "") > LARGEST:
                raise ValueError("too large")
            body = decode()
        except Exception as error:  # whatever a decoder raises for what strangers send
            self._odd(_bytes(raw), f"it cannot be decoded: {type(error).__name__}")
            return
        events = body if isinstance(body, list) else [body]
        if all(map(_is_event, events)):
            self._take([Received(event, now, waited) for event in events])
            return
        self._odd(_bytes(raw), "it holds something that is no event")
        self._take([Received(event, now, waited) for event in events if _is_event(event)])

    def _decode(self, message: Message) -> Any:
        if message.content_type == _JSON:
            # kombu's own way takes several times as long.
            return json.loads(message.body)
        message.accept = self._accept
        return message.decode()


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _bytes(body: Any) -> bytes:
    return (body if isinstance(body, bytes) else str(body).encode(errors="replace"))[:2000]
