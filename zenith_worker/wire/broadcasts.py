"""Broadcasts Celery's remote control commands over an application's broker, once and within a bound."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from celery import Celery
from kombu.messaging import Producer

from zenith_worker.wire.control import SHUTDOWN


def broadcast(
    app: Celery, connection: Any, command: str, arguments: Mapping[str, Any], workers: Sequence[str], *, within: float,
    everybody: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Tell workers something over a connection; return what they answer, by name, once all have, or what came in so many seconds.

    `everybody`: the command is for all workers of the application, of which these are known.
    Raises whatever the transport raises.
    """
    mailbox = app.control.mailbox(connection)
    mailbox.producer_pool = _OnePublisher(connection.default_channel)
    if command == SHUTDOWN:
        mailbox.cast(list(workers), command)
        return {name: {"ok": "told to shut down"} for name in workers}
    answers: dict[str, Any] = {}
    known = set(workers)
    ends_at = time.monotonic() + within

    def take(body: Any) -> None:
        answers.update(body if isinstance(body, dict) else {})
        if time.monotonic() > ends_at or answers.keys() >= known:
            # kombu takes it for its own: it waits so long for each answer, however many there are. In Python 3.9, TimeoutError is
            # another class.
            raise socket.timeout("no more answers are waited for")

    if everybody:
        mailbox.multi_call(command, dict(arguments), timeout=within, callback=take)
    else:
        mailbox.call(list(workers), command, dict(arguments), timeout=within, callback=take)
    return answers


class _OnePublisher:
    """Stands for the mailbox's pool of producers.

    kombu would publish over the application's own connections, and try again for as long as the broker is away: a worker would be
    shut down when nobody expects it any more.
    """

    def __init__(self, channel: Any) -> None:
        self._producer = _Once(channel, auto_declare=False)  # type: ignore[no-untyped-call]

    def acquire(self) -> Any:
        """Return the producer, as the context that a pool would return."""
        return nullcontext(self._producer)


class _Once(Producer):
    def publish(self, *args: Any, **options: Any) -> Any:
        """Publish a message without a second try."""
        return super().publish(*args, **{**options, "retry": False})  # type: ignore[no-untyped-call]
