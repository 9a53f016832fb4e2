"""A Redis of its own for a test, or a Sentinel, on loopback: with a configuration that Zenith's own server does not have."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.processes import TAIL, exec_with_parent, free_port
from tests.waiting import eventually
from zenith_site.embedded.redis import _programs


class RedisServer:
    """A server that runs: `port` on 127.0.0.1, and a socket."""

    def __init__(self, directory: Path, lines: tuple[str, ...], *, sentinel: bool) -> None:
        self.port, self.socket, self._log = free_port(), directory / "socket", directory / "log"
        directory.mkdir()
        config = directory / "redis.conf"
        own = () if sentinel else ("save ''", f"unixsocket {self.socket}")
        config.write_text("\n".join((f"port {self.port}", "bind 127.0.0.1", f"dir {directory}", *own, *lines, "")))
        self._command = (_programs()[0], str(config), *(("--sentinel",) if sentinel else ()))
        self.start()
        self.admin = redis.Redis(port=self.port, retry=None)

    def url(self, user: str = "", database: int = 0) -> str:
        """Return its URL for `user:password`."""
        return f"redis://{user}{'@' if user else ''}127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, at first or again, without what it held."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                exec_with_parent(*self._command), cwd=self._log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it answers."""
        eventually(lambda: self._process.poll() is not None or self._answers(), but=self._log.read_text)
        assert self._process.poll() is None, self._log.read_text()[-TAIL:]

    def stop(self) -> None:
        """End it at once."""
        self.admin.close()
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


@contextmanager
def redis_server(directory: Path, *lines: str, sentinel: bool = False) -> Iterator[RedisServer]:
    """Run a server with some lines of configuration, and its files in a new `directory`."""
    server = RedisServer(directory, lines, sentinel=sentinel)
    try:
        server.wait()
        yield server
    finally:
        server.stop()
