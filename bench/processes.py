"""The processes of one side of a benchmark: start, pause while another side runs, measure, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from zenith_site.embedded.processes import exec_with_parent

REPOSITORY = Path(__file__).resolve().parent.parent
STOP_SECONDS = 15.0


class BenchError(Exception):
    """The benchmark cannot continue; the message is for the terminal."""


class Processes:
    """A group of programs, by role.

    Arguments:
        logs: the directory for their output.
        environment: their variables in addition to this process's environment.
    """

    def __init__(self, logs: Path, environment: dict[str, str]) -> None:
        self.logs = logs
        self.environment = environment
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str, command: Iterable[str | Path], environment: dict[str, str] | None = None) -> None:
        """Start a program that ends together with this process, however this process ends."""
        log = self.logs / f"{self.environment.get('BENCH_NAME', 'bench')}-{role}.log"
        with log.open("ab") as output:
            self._started[role] = subprocess.Popen(
                exec_with_parent(command, death_signal=signal.SIGKILL),
                cwd=REPOSITORY,
                env=environment_with({**self.environment, **(environment or {})}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise BenchError if a program has exited."""
        for role, process in self._started.items():
            if process.poll() is not None:
                raise BenchError(f"{role} exited with status {process.returncode}:\n{self._tail(role)}")

    def pause(self) -> None:
        """Freeze all programs, so that they use no CPU while another side runs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume all programs."""
        self._signal(signal.SIGCONT)

    def roles(self) -> dict[int, str]:
        """Return the role of every process by pid; the worker's children have the role `pool`."""
        roles = {}
        for role, process in self._started.items():
            roles[process.pid] = role
            roles |= dict.fromkeys(children_of(process.pid), "pool" if role == "worker" else role)
        return roles

    def stop(self) -> None:
        """Stop all programs."""
        self.resume()
        for process in self._started.values():
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._started.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            # Each program leads its own process group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._started = {}

    def _signal(self, number: int) -> None:
        for pid in self.roles():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _tail(self, role: str) -> str:
        log = self.logs / f"{self.environment.get('BENCH_NAME', 'bench')}-{role}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def environment_with(extra: dict[str, str]) -> dict[str, str]:
    """Return a program's environment, without this process's DJANGO_SETTINGS_MODULE."""
    return {**{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}, **extra}


def run_quietly(command: Sequence[str], environment: dict[str, str]) -> str:
    """Run a program to completion and return its output.

    Raises:
        BenchError: if it fails.
    """
    done = subprocess.run(command, cwd=REPOSITORY, env=environment_with(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[1:4])} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def children_of(pid: int) -> list[int]:
    """Return a process's descendants."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int, *, with_ended: bool = False) -> float:
    """Return the CPU time of a process; with `with_ended`, including its children that have exited."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    ended = times.children_user + times.children_system if with_ended else 0.0
    return float(times.user + times.system + ended)


def server_cpu_seconds(pid: int | None) -> float:
    """Return the CPU time of a server and all its descendants, including those that have exited."""
    if pid is None:
        return 0.0
    return cpu_seconds(pid, with_ended=True) + sum(map(cpu_seconds, children_of(pid)))


class CpuMeter:
    """Measures CPU seconds by role since its creation.

    Arguments:
        processes: the processes to count.
        servers: pids of servers by name.
    """

    def __init__(self, processes: Processes, servers: dict[str, int | None]) -> None:
        self._roles = processes.roles()
        self._servers = servers
        self._before = self._read()

    def read(self) -> dict[str, float]:
        """Return the CPU seconds used since creation."""
        after = self._read()
        return {role: after[role] - self._before[role] for role in after}

    def _read(self) -> dict[str, float]:
        used: dict[str, float] = defaultdict(float)
        for pid, role in self._roles.items():
            used[role] += cpu_seconds(pid)
        for name, server in self._servers.items():
            used[name] += server_cpu_seconds(server)
        return used


def wait_until(
    reached: Callable[[], bool], processes: Processes, *, what: str, seconds: float = 120.0, every: float = 0.01
) -> None:
    """Wait until a condition is reached.

    Raises:
        BenchError: if a process exits meanwhile, or the condition is not reached within `seconds`.
    """
    deadline = time.monotonic() + seconds
    checked_at = time.monotonic()
    while not reached():
        now = time.monotonic()
        if now - checked_at > 1:
            checked_at = now
            processes.check()
        if now > deadline:
            raise BenchError(f"{what} took longer than {seconds:.0f} s")
        time.sleep(every)
