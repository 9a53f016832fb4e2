"""Starts, finds and ends the server processes of one data directory."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from zenith_site.embedded.errors import EmbeddedError
from zenith_site.embedded.state import FIRST_PORT, LAST_PORT, LOOPBACK, Bridge, read_port, remember_port

EXEC_WITH_PARENT = Path(__file__).resolve().parent.parent / "exec_with_parent.py"
# A larger log is rotated at the next start; one old log is kept.
LOG_LIMIT = 10 * 1024 * 1024


def exec_with_parent(command: Iterable[str | Path], *, death_signal: int, user: str = "-", search: bool = False) -> list[str]:
    """Return the command line that runs a command through exec_with_parent.py."""
    mode = "search" if search else "plain"
    return [
        sys.executable,
        "-I",
        "-S",
        str(EXEC_WITH_PARENT),
        str(os.getpid()),
        str(int(death_signal)),
        user,
        mode,
        *map(str, command),
    ]


def spawn(command: list[str], *, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that Ctrl-C reaches only `up`, which then stops everything in order.

    The process ends with the calling thread (a rule of the kernel's parent-death signal), so call this from the main thread.
    """
    log.parent.mkdir(mode=0o700, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def end(process: subprocess.Popen[bytes], steps: Iterable[tuple[int, float]]) -> None:
    """Send each signal and wait its seconds for the process to end; the last resort is SIGKILL."""
    for number, seconds in steps:
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()


def await_answer(process: subprocess.Popen[bytes], answers: Callable[[], bool], *, name: str, log: Path, seconds: float) -> None:
    """Wait until a server answers.

    Raises:
        EmbeddedError: if it ends first, or does not answer within that many seconds.
    """
    deadline = time.monotonic() + seconds
    while not answers():
        if process.poll() is not None:
            raise EmbeddedError(f"{name} ended while starting (status {process.returncode}): {last_line(log)} (more in {log})")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{name} did not answer within {seconds:.0f} s: see {log}")
        time.sleep(0.02)


def last_line(log: Path) -> str:
    """Return the last non-empty line of a log, for a message of one line."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing in its log")


def claim_port(data_dir: Path, server: str, bridge: Bridge | None = None) -> int:
    """Return the remembered port if it is free on loopback and on the bridge; else choose and remember another.

    Raises:
        EmbeddedError: if no port is free.
    """
    candidates = [read_port(data_dir, server), *random.sample(range(FIRST_PORT, LAST_PORT), 200)]
    hosts = [LOOPBACK, *([bridge.address] if bridge else [])]
    for port in candidates:
        if all(port_is_free(host, port) for host in hosts):
            remember_port(data_dir, server, port)
            return port
    raise EmbeddedError(f"No free port for {server} between {FIRST_PORT} and {LAST_PORT} on {' and '.join(hosts)}.")


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port whose closed connections only linger counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def end_leftovers(directory: Path, program: str) -> None:
    """End the processes of a program that a killed `up` left running in a directory.

    Call it only under the data directory's lock, so that none of them belongs to a running `up`.
    """
    for number, seconds in ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + seconds
        pids = leftovers(directory, program)
        for pid in pids:
            _signal(pid, number)
        while pids and time.monotonic() < deadline:
            time.sleep(0.05)
            pids = leftovers(directory, program)
        if not pids:
            return


def leftovers(directory: Path, program: str) -> list[int]:
    """Return the processes of a program whose working directory is this one; both servers work in their data directory."""
    if not Path("/proc/self/cwd").exists():
        return _leftovers_from_ps(directory, program)
    home = directory.resolve()
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _runs_in(entry, home, program)]


def _runs_in(entry: Path, home: Path, program: str) -> bool:
    try:
        return program in os.readlink(entry / "exe") and os.readlink(entry / "cwd") == str(home)
    except OSError:
        return False


def _leftovers_from_ps(directory: Path, program: str) -> list[int]:
    listing = subprocess.run(["/bin/ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
    lines = [line.strip().partition(" ") for line in listing.splitlines()]
    return [int(pid) for pid, _, command in lines if program in command and str(directory) in command]


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
