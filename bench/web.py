"""A web process, and a persistent connection to it."""

from __future__ import annotations

import http.client
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.processes import BenchError, Processes, wait_until


class Web:
    """A daphne process that serves Zenith.

    Arguments:
        processes: where to add it, as `web`.
        headers: the headers of every request.
    """

    def __init__(self, processes: Processes, headers: Mapping[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        daphne = Path(sys.executable).with_name("daphne")
        processes.start("web", [daphne, "-b", "127.0.0.1", "-p", str(self.port), "zenith_site.asgi:application"])
        self._headers = dict(headers)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        wait_until(self._answers, processes, what="daphne", seconds=60, every=0.1)

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> float:
        """Send a request, and return its duration in milliseconds.

        Raises:
            BenchError: if the status is not 200.
        """
        started = time.perf_counter()
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        text = response.read()
        milliseconds = (time.perf_counter() - started) * 1000
        if response.status != 200:
            raise BenchError(f"{method} {path} was answered by {response.status}: {text[:500]!r}")
        return milliseconds

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/health") > 0
        except OSError:
            self._connection.close()
            return False
