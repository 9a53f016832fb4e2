"""Keeps programs running: honcho's processes and printer, with a loop that restarts programs that end.

honcho's own Manager stops everything when one process ends. A control plane should recover instead: a worker killed for its
memory must not take down the pages that would show it.
"""

from __future__ import annotations

import os
import queue
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TextIO

from honcho.colour import get_colours
from honcho.printer import Message, Printer
from honcho.process import Process

from zenith_site.launch.programs import Program

SYSTEM = "zenith"
NAME_WIDTH = 6
LONGEST_DELAY = 30.0
# A program that ran for this long has recovered: its next failure counts as the first.
STEADY_SECONDS = 60.0
# Failures of one program during the start after which another attempt does not help.
FAILURES_WHILE_STARTING = 3
# Seconds that programs get before they are killed, of the ten that a stop may take; the servers need the rest.
STOP_SECONDS = (6.5, 2.5)


class StartError(Exception):
    """A required program does not run; the text is one line for the terminal."""


@dataclass
class Running:
    """A program and its current state."""

    program: Program
    colour: str
    alive: bool = False
    pid: int | None = None
    started: float = 0.0
    failures: int = 0
    due: float | None = None


class Supervisor:
    """Runs programs, prints their lines with a prefix, and restarts those that end.

    Arguments:
        output: where the lines go; coloured only if it is a terminal and NO_COLOR is not set.
        cwd: the programs' working directory.
    """

    def __init__(self, output: TextIO, cwd: Path) -> None:
        self.cwd = cwd
        self.ready = False
        self.stopping = False
        self.impatient = False
        self._events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._printer = Printer(output, width=NAME_WIDTH, colour=not os.environ.get("NO_COLOR"))
        self._colours = get_colours()
        self._running: dict[str, Running] = {}

    def say(self, text: str) -> None:
        """Print a line as `zenith`."""
        self._printer.write(Message(type="line", data=text, time=datetime.now(), name=SYSTEM, colour=None))  # noqa: DTZ005 (the wall clock of whoever watches)

    def post(self, kind: str, data: object = None) -> None:
        """Send an event to the loop, from any thread."""
        self._events.put(Message(type=kind, data=data, time=None, name=SYSTEM, colour=None))

    def start(self, program: Program) -> None:
        """Start a program."""
        state = self._running.setdefault(program.name, Running(program, next(self._colours)))
        state.alive, state.started, state.due = True, time.monotonic(), None
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **program.environment}
        command = "exec " + shlex.join(program.tethered_command())
        process = Process(command, name=program.name, colour=state.colour, env=environment, cwd=str(self.cwd))
        # The thread lives as long as the process, which the kernel ties to it.
        threading.Thread(target=process.run, args=(self._events,), name=program.name, daemon=True).start()

    def loop(self, handlers: dict[str, Callable[[object], None]]) -> None:
        """Print lines, restart programs, and call the handler of every posted event, until a signal or an exception.

        Raises:
            StartError: if a program ends repeatedly before everything is up.
        """
        while True:
            self._step(0.5, handlers)
            for state in list(self._running.values()):
                if state.due is not None and time.monotonic() >= state.due:
                    self.start(state.program)

    def stop(self) -> None:
        """Stop all programs in order, and kill those that do not end in time."""
        for state in self._running.values():
            state.due = None
            state.program = replace(state.program, long_running=False)
        orders = sorted({state.program.stop_order for state in self._running.values()})
        for order, seconds in zip(orders, STOP_SECONDS, strict=False):
            self._stop_some([state for state in self._running.values() if state.program.stop_order == order], seconds)

    def _stop_some(self, states: list[Running], seconds: float) -> None:
        signalled: set[int] = set()
        deadline = time.monotonic() + seconds
        while any(state.alive for state in states):
            # In the loop, because a process may still be starting when the stop begins.
            for pid in {state.pid for state in states if state.pid} - signalled:
                signalled.add(pid)
                _send(pid, signal.SIGTERM)
            if self.impatient or time.monotonic() > deadline:
                self._kill(states)
                deadline = time.monotonic() + 1
            self._step(0.05, {})

    def _kill(self, states: Iterable[Running]) -> None:
        for state in states:
            if state.pid:
                self.say(f"{state.program.name} did not end in time: killed")
                _kill_group(state.pid)

    def _step(self, timeout: float, handlers: dict[str, Callable[[object], None]]) -> None:
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return
        if event.type == "line":
            self._printer.write(event)
        elif event.type == "start":
            self._running[event.name].pid = event.data["pid"]
        elif event.type == "stop":
            self._ended(self._running[event.name], event.data["returncode"])
        if event.type in handlers:
            handlers[event.type](event.data)
        elif event.type == "stop" and event.name in handlers:
            handlers[event.name](event.data["returncode"])

    def _ended(self, state: Running, status: int) -> None:
        if state.pid:
            # Kill what it left behind, such as the children of a killed worker.
            _kill_group(state.pid)
        state.alive, state.pid = False, None
        if state.program.long_running:
            self._plan_restart(state, status)

    def _plan_restart(self, state: Running, status: int) -> None:
        state.failures = 1 if time.monotonic() - state.started > STEADY_SECONDS else state.failures + 1
        name, how = state.program.name, _how_it_ended(status)
        if not self.ready and state.failures >= FAILURES_WHILE_STARTING:
            raise StartError(f"{name} {how} {state.failures} times while starting; its output is above.")
        delay = min(2.0 ** (state.failures - 1), LONGEST_DELAY)
        self.say(f"{name} {how} unexpectedly; starting it again in {delay:.0f} s")
        state.due = time.monotonic() + delay


def _how_it_ended(status: int) -> str:
    return f"ended (signal {signal.Signals(-status).name})" if status < 0 else f"ended (status {status})"


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_group(pid: int) -> None:
    """Kill a process and its children; each program leads a group of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
