"""Connections of our own to the application's broker, which give up after a few seconds: tasks never wait for them."""

from __future__ import annotations

from typing import Any, Final

from celery import Celery

#: Seconds for which the broker is tried, and for which one of its answers is waited for.
WAITS: Final = 3
#: The names of these bounds in the options of kombu's transports, besides `connect_timeout`.
_BOUNDS: Final = {
    "redis": ("socket_connect_timeout", "socket_timeout"),  # kombu passes it no connect_timeout
    "py-amqp": ("read_timeout", "write_timeout"),
}


def connect(app: Celery, *, reads: bool = False) -> Any:
    """Return a new connection, which the caller closes; `reads`: to the broker that workers read from, if there are two.

    Raises whatever the transport raises if it cannot be made in time.
    """
    connection = (app.connection_for_read if reads else app.connection_for_write)(connect_timeout=WAITS)
    try:
        transport = connection.transport
        for bound in _BOUNDS.get(transport.driver_type, ()) or _BOUNDS.get(transport.driver_name, ()):
            connection.transport_options.setdefault(bound, WAITS)
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    except BaseException:
        connection.release()
        raise
    return connection
