"""Asks RabbitMQ about the queues of a watched application: a passive declaration tells messages and consumers, and makes nothing.

It needs no rights but those of a connection. A queue that is not there closes the channel, so each measuring has one of its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from kombu.connection import Connection

from tasks_app.watching.brokers import CONNECT_TIMEOUT


class Declared(NamedTuple):
    """What RabbitMQ tells of a queue: messages that wait, and consumers; None for one that is not there, or not for this user."""

    depth: int | None
    consumers: int | None


def measure(connection: Connection, queues: Sequence[str], until: float) -> dict[str, Declared]:
    """Ask about these queues, as many as can be until a monotonic time. Raises what kombu raises."""
    found: dict[str, Declared] = {}
    channel: Any = connection.channel()
    # Of py-amqp's methods, this one has no time limit of its own.
    with connection.connection.transport.having_timeout(CONNECT_TIMEOUT):
        for queue in queues:
            if found and time.monotonic() >= until:
                break
            try:
                answer = channel.queue_declare(queue=queue, passive=True)
                found[queue] = Declared(answer.message_count, answer.consumer_count)
            except connection.channel_errors:
                found[queue] = Declared(None, None)
                with suppress(*connection.channel_errors):
                    channel.close()
                channel = connection.channel()
        with suppress(*connection.channel_errors):
            channel.close()
    return found
