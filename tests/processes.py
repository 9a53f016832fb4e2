"""Starting, looking at and ending other processes from a test."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

REPOSITORY = Path(__file__).resolve().parent.parent
#: What workers are given in place of a database.
NOWHERE = "postgres://nobody:nothing@127.0.0.1:1/nowhere"
#: How much of an output is shown, in characters.
TAIL = 6000


def ends(pid: int | None, seconds: float = 30) -> bool:
    """Whether a process is gone within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not pid or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections on a TCP port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Forked:
    """A process that tests/warm.py forked, as subprocess.Popen would show it.

    Raises OSError when it could not be started.
    """

    _nursery: ClassVar[socket.socket | None] = None

    def __init__(self, command: list[str], env: dict[str, str], output: int) -> None:
        self.returncode: int | None = None
        told, telling = os.pipe()
        request = json.dumps({"command": command, "environment": env, "directory": str(REPOSITORY)}).encode()
        with open(os.devnull) as nothing:
            socket.send_fds(self._asking(), [request], [nothing.fileno(), output, output, telling])
        os.close(telling)
        self._told = os.fdopen(told, "rb", buffering=0)
        self.pid = int(self._line() or 0)
        if not self.pid:
            raise OSError("tests/warm.py has ended")

    @classmethod
    def _asking(cls) -> socket.socket:
        """Return the way to the process that forks: each of pytest's has one, which ends with it."""
        if cls._nursery is None:
            cls._nursery, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            program = (sys.executable, str(REPOSITORY / "tests" / "warm.py"), str(other.fileno()))
            subprocess.Popen(
                exec_with_parent(*program), cwd=REPOSITORY, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
            )  # fmt: skip
            other.close()
        return cls._nursery

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        """Return its exit status once it has ended; raises subprocess.TimeoutExpired."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._told], (), (), timeout)[0]:
            # Nothing at all: who would tell was killed, and with it the process.
            self.returncode = int(self._line() or -signal.SIGKILL)
            self._told.close()
        return self.returncode

    def _line(self) -> bytes:
        """Read a line, bytewise: what follows may be waited for."""
        return b"".join(iter(lambda: self._told.read(1).strip(), b""))


def exec_with_parent(*program: str) -> list[str]:
    """Return a program's command line such that it ends with the tests, also when these are killed."""
    tether = (str(REPOSITORY / "zenith_site" / "exec_with_parent.py"), str(os.getpid()), str(int(signal.SIGKILL)), "-", "-")
    return [sys.executable, "-I", "-S", *tether, *program]


def can_fork(command: list[str], env: dict[str, str]) -> bool:
    """Whether a process would be the same if it was forked: most settings of the interpreter itself are read at its start."""
    read_at_the_start = {name for name in env if name.startswith("PYTHON")}
    return command[0] in {"-m", "manage.py"} and read_at_the_start <= {"PYTHONPATH", "PYTHONUNBUFFERED"}


class Process:
    """One process in a group of its own, with its output in a file.

    Arguments:
        pipes: whether its standard input and output lead here instead; what it prints as errors goes into the file all the same.
    """

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str], *, pipes: bool = False) -> None:
        self.name = name
        self.log = log
        self._shown = 0
        self.popen: subprocess.Popen[str] | Forked
        with log.open("ab") as output:
            if not pipes and can_fork(command, env):
                self.popen = Forked(command, env, output.fileno())
                return
            self.popen = subprocess.Popen(
                exec_with_parent(sys.executable, *command),
                cwd=REPOSITORY, env=env, stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else output, stderr=output, start_new_session=True, text=pipes,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its number."""
        return self.popen.pid

    @property
    def output(self) -> str:
        """Everything written so far."""
        return self.log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self.popen.poll() is None

    def news(self, telling: Callable[[str], str] = str) -> str:
        """Return the end of what was written since the last call; `telling` takes out what tells nothing before that is cut."""
        text = self.output
        shown, self._shown = self._shown, len(text)
        return telling(text[shown:])[-TAIL:]

    def stop(self, number: int = signal.SIGTERM, *, within: float = 45.0) -> None:
        """End the process and its children: politely at first, for certain at last."""
        try:
            if self.runs:
                self.popen.send_signal(number)
                self.popen.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {within:g} s:\n{self.output[-TAIL:]}") from None
        finally:
            self.kill()

    def signal(self, number: int) -> None:
        """Send a signal to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill(self) -> None:
        """End the whole group at once."""
        self.signal(signal.SIGKILL)
        self.popen.wait(10)
