"""Zenith as people run it: `manage.py up` in a temporary directory."""

from __future__ import annotations

import re
import secrets
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.lab import Lab
from bench.processes import Processes, children_of, wait_until
from zenith_site.embedded.state import addresses

#: The first start creates a database cluster and collects static files.
START_SECONDS = 90.0


class Stack:
    """One run of `manage.py up` in a lab's directory; a context manager that enters once Zenith is ready.

    Arguments:
        lab: a lab without servers of its own.
        options: options of `manage.py up`.

    Attributes:
        ready_after: seconds from the start of the command to its banner.
    """

    def __init__(self, lab: Lab, *options: str) -> None:
        self.lab = lab
        self.api_key = f"zen_{secrets.token_urlsafe(32)}"
        self.port = _free_port()
        self.options = options
        self.ready_after = 0.0
        # Authentication and rate limits are not measured here.
        environment = {
            "BENCH_NAME": "stack",
            "ZENITH_API_KEY": self.api_key,
            "ZENITH_RATE_LIMIT": "1000000/1s",
            "ZENITH_READ_RATE_LIMIT": "1000000/1s",
        }
        self.processes = Processes(lab.logs, {**environment, "ZENITH_TASK_MODULES": "bench.tasks", "NO_COLOR": "1"})

    def __enter__(self) -> Self:
        log = self.lab.logs / "stack-up.log"
        log.unlink(missing_ok=True)
        started = time.monotonic()
        self.processes.start("up", [sys.executable, "manage.py", "up", "--port", str(self.port), *self.options])
        try:
            wait_until(lambda: _banner_in(log), self.processes, what="manage.py up", seconds=START_SECONDS, every=0.02)
        except BaseException:
            self.processes.stop()
            raise
        self.ready_after = time.monotonic() - started
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.processes.stop()

    @property
    def database_url(self) -> str:
        """The address of its PostgreSQL."""
        return addresses(self.lab.data).database_url

    @property
    def redis_url(self) -> str:
        """The address of its Redis."""
        return addresses(self.lab.data).redis_url

    @property
    def pid(self) -> int:
        """The pid of the supervisor, the parent of all other processes."""
        return next(iter(self.processes.roles()))

    def pids(self) -> list[int]:
        """Return the pids of all processes."""
        return [self.pid, *children_of(self.pid)]


def _banner_in(log: Path) -> bool:
    return log.exists() and re.search(r"^\s+Zenith is up\s", log.read_text(errors="replace"), re.MULTILINE) is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
