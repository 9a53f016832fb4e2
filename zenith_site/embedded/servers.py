"""Starts and stops both embedded servers together."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from zenith_site.embedded.lock import create_data_dir
from zenith_site.embedded.postgres import Postgres
from zenith_site.embedded.redis import Redis
from zenith_site.embedded.state import Addresses, Bridge, addresses, admin_address, remember_bridge


class EmbeddedServers:
    """The servers of one data directory; a context manager that starts them on entry and stops them on exit.

    Start them from the main thread: they end with the thread that started them.

    Arguments:
        data_dir: the directory of their data, logs and passwords; created if missing.
        postgres: run PostgreSQL.
        redis: run Redis.
        fast: for tests: nothing is forced to disk.
        bridge: the Docker network that Redis also listens on, besides loopback.
    """

    def __init__(
        self, data_dir: Path, *, postgres: bool = True, redis: bool = True, fast: bool = False, bridge: Bridge | None = None
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.bridge = bridge
        self.postgres = Postgres(self.data_dir, fast=fast) if postgres else None
        self.redis = Redis(self.data_dir, fast=fast, bridge=bridge) if redis else None

    @property
    def addresses(self) -> Addresses:
        """The addresses of the servers."""
        return addresses(self.data_dir)

    @property
    def admin_url(self) -> str:
        """The address for PostgreSQL's administrator."""
        return admin_address(self.data_dir)

    @property
    def postgres_pid(self) -> int | None:
        """The process id of the running PostgreSQL, or None."""
        return self.postgres.pid if self.postgres else None

    @property
    def redis_pid(self) -> int | None:
        """The process id of the running Redis, or None."""
        return self.redis.pid if self.redis else None

    def start(self) -> None:
        """Start the servers at the same time and wait until they answer.

        Raises:
            EmbeddedError: if one cannot run; the other is stopped again.
        """
        create_data_dir(self.data_dir)
        remember_bridge(self.data_dir, self.bridge)
        servers = [server for server in (self.postgres, self.redis) if server]
        try:
            for server in servers:
                server.launch()
            for server in servers:
                server.wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the running servers cleanly."""
        self.stop_redis()
        self.stop_postgres()

    def start_postgres(self) -> None:
        """Start PostgreSQL alone."""
        if self.postgres and not self.postgres.pid:
            self.postgres.launch()
            self.postgres.wait()

    def stop_postgres(self) -> None:
        """Stop PostgreSQL alone."""
        if self.postgres:
            self.postgres.stop()

    def start_redis(self) -> None:
        """Start Redis alone."""
        if self.redis and not self.redis.pid:
            self.redis.launch()
            self.redis.wait()

    def stop_redis(self) -> None:
        """Stop Redis alone."""
        if self.redis:
            self.redis.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
