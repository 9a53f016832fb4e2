"""Starting, looking at and ending other processes from a test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
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


class Process:
    """One process in a group of its own, with its output in a file.

    Arguments:
        pipes: whether its standard input and output lead here instead; what it prints as errors goes into the file all the same.
    """

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str], *, pipes: bool = False) -> None:
        self.name = name
        self.log = log
        self._shown = 0
        # Ends with the tests, also when these are killed.
        tether = (str(REPOSITORY / "zenith_site" / "tether.py"), str(os.getpid()), str(int(signal.SIGKILL)), "-", "-")
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-I", "-S", *tether, sys.executable, *command],
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

    def news(self) -> str:
        """Return the end of what was written since the last call."""
        text = self.output
        shown, self._shown = self._shown, len(text)
        return text[shown:][-TAIL:]

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
