"""Servers for the benchmarks: a real PostgreSQL and Redis that persist to a temporary directory."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import redis

from bench.processes import run_quietly
from zenith_site.embedded import EmbeddedServers
from zenith_site.embedded.state import DATABASE_USER

OURS = ("ZENITH_", "DATABASE_URL", "REDIS_URL", "PORT", "DJANGO_", "CELERY_", "BENCH_")


def clean_environment() -> None:
    """Remove variables that the shell has set for another Zenith."""
    for name in list(os.environ):
        if name.startswith(OURS):
            del os.environ[name]
    os.environ["ZENITH_ENV_FILE"] = os.devnull


class Lab:
    """A temporary directory with the servers; a context manager.

    Entering it sets Zenith's environment in this process and in every process started later, so Django must not be loaded before.

    Arguments:
        servers: whether to start them; `manage.py up` starts its own.
    """

    def __init__(self, *, servers: bool = True) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="zenith-bench-"))
        # PostgreSQL runs as another user if this process runs as root.
        self.directory.chmod(0o711)
        self.data = self.directory / "data"
        self.logs = self.directory / "logs"
        self.logs.mkdir()
        self.servers = EmbeddedServers(self.data) if servers else None

    def __enter__(self) -> Self:
        clean_environment()
        os.environ["ZENITH_DATA_DIR"] = str(self.data)
        try:
            if self.servers:
                self.servers.start()
                os.environ.update(
                    DATABASE_URL=self.servers.addresses.database_url,
                    REDIS_URL=self.redis_url(0),
                    ZENITH_TASK_MODULES="bench.tasks",
                )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the servers and remove the directory."""
        if self.servers:
            self.servers.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def redis_url(self, number: int) -> str:
        """Return the address of one of Redis' sixteen databases: each side has its own, on the same server."""
        assert self.servers
        return f"{self.servers.addresses.redis_url.rpartition('/')[0]}/{number}"

    def redis(self, number: int) -> redis.Redis:
        """Return a client for that database."""
        return redis.Redis.from_url(self.redis_url(number))

    def database_url(self, name: str) -> str:
        """Return the address of a PostgreSQL database other than Zenith's."""
        assert self.servers
        return f"{self.servers.addresses.database_url.rpartition('/')[0]}/{name}"

    def create_database(self, name: str) -> None:
        """Create that database."""
        assert self.servers
        with psycopg.connect(self.servers.admin_url, autocommit=True) as connection:
            names = {"name": psycopg.sql.Identifier(name), "owner": psycopg.sql.Identifier(DATABASE_USER)}
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {name} OWNER {owner}").format(**names))

    def pids(self) -> dict[str, int | None]:
        """Return the servers' pids by name."""
        assert self.servers
        return {"postgres": self.servers.postgres_pid, "redis": self.servers.redis_pid}

    def load_zenith(self) -> None:
        """Migrate the database, and load Django in this process."""
        import django

        run_quietly([sys.executable, "manage.py", "migrate", "--verbosity", "0"], {})
        os.environ["DJANGO_SETTINGS_MODULE"] = "zenith_site.settings"
        django.setup()

    def tidy(self) -> None:
        """Do upkeep that the servers would do at an arbitrary moment, so that no measurement pays for another."""
        assert self.servers
        with psycopg.connect(self.servers.admin_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
