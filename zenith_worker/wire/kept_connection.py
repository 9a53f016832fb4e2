"""The small transactions of a worker's channel, over one connection that is kept.

For every message a worker records in Redis that it is unacknowledged, and removes the record. Kombu creates a client object and a
pipeline object for each, which is half of what a short task costs the worker's main process.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import redis
from kombu.transport import redis as kombu_redis


class KeptConnection:
    """One connection beside those of a channel's pool, for small transactions; thread-safe.

    It does not count among the pool's, of which an application may allow a single one (`max_connections`).
    """

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self._connection = pool.connection_class(**pool.connection_kwargs)
        self._lock = threading.Lock()
        self._unread = 0

    def transact(self, *commands: tuple[Any, ...], wait: bool = True) -> Any:
        """Run commands in one MULTI/EXEC; return their answers. Raises redis.RedisError; then none or all were run.

        A command that was accepted and then failed is an error among the answers. Without `wait` the answers are read only before
        the next transaction: the process does not wait for them, and an error in this transaction is ignored.
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
                return self._read_answers() if wait else None
            except BaseException:
                # There may be unread answers, which the next command must not get.
                self._unread = 0
                self._connection.disconnect()
                raise

    def _read_answers(self) -> Any:
        # A refused command makes EXEC fail, whose answer is read last.
        answer = None
        while self._unread:
            answer = self._connection.read_response()
            self._unread -= 1
        return answer


class KeptConnectionQoS(kombu_redis.QoS):
    """Kombu's records of unacknowledged messages, with transactions over a kept connection."""

    _kept_connection: KeptConnection | None = None

    def _transact(self, *commands: tuple[Any, ...], wait: bool = True) -> Any:
        # If the connection is lost, the channel drops its pool and creates a new one.
        pool = self.channel.pool
        if self._kept_connection is None or self._kept_connection.pool is not pool:
            self._kept_connection = KeptConnection(pool)
        try:
            return self._kept_connection.transact(*commands, wait=wait)
        except redis.ConnectionError:
            # It may have died while idle; each of these commands is idempotent.
            return self._kept_connection.transact(*commands, wait=wait)

    def _key(self, key: str) -> str:
        return f"{self.channel.global_keyprefix}{key}"
