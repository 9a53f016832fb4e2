"""How soon a page shows the tasks of a busy application: `manage.py up --watch URL` in a directory of its own.

The application is a Celery worker that knows nothing of Zenith and sends no events until it is asked to, and a sender of fifty
tasks a second. The time is that from the web process' first answer until the list of the application's tasks, as somebody who has
logged in sees it, has rows.
"""

from __future__ import annotations

import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from bench.lab import Lab
from bench.processes import BenchError, Processes
from bench.report import progress, say
from bench.stack import Stack
from zenith_site.embedded.redis import Redis
from zenith_site.embedded.state import addresses

NAME = "shop"
PER_SECOND = 50
#: Seconds within which rows must be there, after the command is ready.
PATIENCE = 60.0
_ROW = re.compile(rb'id="task-[0-9a-f-]{36}"')


def first_rows(rounds: int) -> list[float]:
    """Return the seconds of each round."""
    seconds = []
    for number in range(rounds):
        progress(f"watch: first rows, round {number + 1} of {rounds}")
        with Lab(servers=False) as lab, _busy_application(lab) as (url, application):
            stack = Stack(lab, "--watch", f"{NAME}={url}")
            visitor = _Visitor(stack.port)
            stack.processes.environment["ZENITH_ADMIN_PASSWORD"] = visitor.password
            visitor.start()
            with stack:
                visitor.join(PATIENCE)
            application.check()
            if visitor.seconds is None:
                raise BenchError(f"no task was shown within {PATIENCE:.0f} s")
        seconds.append(visitor.seconds)
        progress("")
        say(f"watch: first rows {seconds[-1]:.1f} s after the web process; the command was ready after {stack.ready_after:.1f} s")
    return seconds


class _Visitor(threading.Thread):
    """Logs in as soon as there is an answer, and looks at the list of tasks until it has rows.

    Attributes:
        seconds: from the first answer until then; None until it ends.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.password = secrets.token_urlsafe(16)
        self.seconds: float | None = None
        self._url = f"http://127.0.0.1:{port}"
        self._cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._cookies))

    def run(self) -> None:
        """Visit until there are rows."""
        while not self._get("/health"):
            time.sleep(0.02)
        began = time.perf_counter()
        while not self._log_in() or not _ROW.search(self._get(f"/tasks/?application={NAME}")):
            time.sleep(0.05)
        self.seconds = time.perf_counter() - began

    def _log_in(self) -> bool:
        names = {cookie.name: cookie.value or "" for cookie in self._cookies}
        if "sessionid" in names:
            return True
        self._get("/login/")
        token = next((cookie.value or "" for cookie in self._cookies if "csrf" in cookie.name), "")
        form = {"username": "admin", "password": self.password, "csrfmiddlewaretoken": token, "next": "/"}
        self._get("/login/", urlencode(form).encode())
        return any(cookie.name == "sessionid" for cookie in self._cookies)

    def _get(self, path: str, body: bytes | None = None) -> bytes:
        """Return the answer's body; nothing if it is not a good one."""
        try:
            with self._opener.open(self._url + path, body, timeout=10) as response:
                return bytes(response.read())
        except OSError:
            return b""


@contextmanager
def _busy_application(lab: Lab) -> Iterator[tuple[str, Processes]]:
    """Run a Redis with an application's worker and a sender; yields the broker's URL and the two."""
    server = Redis(Path(tempfile.mkdtemp(dir=lab.directory)), fast=True)
    (server.data_dir / "logs").mkdir()
    server.launch()
    server.wait()
    url = addresses(server.data_dir).redis_url
    application = Processes(lab.logs, {"BENCH_NAME": "busy", "BENCH_BROKER": url})
    app = "bench.peers.bare"
    try:
        application.start("worker", [sys.executable, "-m", "celery", "-A", app, "worker", "--concurrency", "2"])
        application.start("sender", [sys.executable, "-m", "bench.peers.steadily", app, str(PER_SECOND)])
        yield url, application
    finally:
        application.stop()
        server.stop()
