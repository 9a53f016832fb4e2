"""The supervisor restarts what falls, gives up on what never works, and leaves nothing behind."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import ends
from tests.waiting import eventually
from zenith_site.launch.programs import Program
from zenith_site.launch.supervisor import STOP_SECONDS, StartError, Supervisor

pytestmark = pytest.mark.processes


class StopLoopError(Exception):
    """Ends the loop of a test from a handler."""


def python(name: str, code: str, **options: bool) -> Program:
    return Program(name, (sys.executable, "-u", "-c", code), **options)  # type: ignore[arg-type]


def stop_loop(_: object) -> None:
    raise StopLoopError


def post_once(supervisor: Supervisor, condition: Callable[[], object]) -> None:
    """Post "enough" to a supervisor's loop as soon as a condition holds, or when it is too late for that: the loop must end."""

    def wait() -> None:
        try:
            eventually(condition)
        finally:
            supervisor.post("enough")

    threading.Thread(target=wait, daemon=True).start()


def test_a_program_that_never_works_ends_the_start(tmp_path: Path) -> None:
    output = io.StringIO()
    supervisor = Supervisor(output, tmp_path)
    supervisor.start(python("web", "print('no such thing'); raise SystemExit(3)"))
    with pytest.raises(StartError, match=r"web ended \(status 3\) 3 times while starting"):
        supervisor.loop({})
    assert output.getvalue().count("web    | no such thing") == 3
    assert "starting it again in 2 s" in output.getvalue()


def test_a_program_that_falls_later_is_started_again_and_again(tmp_path: Path) -> None:
    output = io.StringIO()
    supervisor = Supervisor(output, tmp_path)
    supervisor.ready = True
    supervisor.start(python("worker", "import os; os.kill(os.getpid(), 9)"))
    fallen = "worker ended (signal SIGKILL) unexpectedly"
    post_once(supervisor, lambda: output.getvalue().count(fallen) == 3)
    with pytest.raises(StopLoopError):
        supervisor.loop({"enough": stop_loop})
    assert output.getvalue().count(fallen) == 3
    supervisor.stop()


def test_a_program_that_is_meant_to_end_is_not_started_again(tmp_path: Path) -> None:
    statuses: list[object] = []

    def done(status: object) -> None:
        statuses.append(status)
        raise StopLoopError

    supervisor = Supervisor(io.StringIO(), tmp_path)
    supervisor.start(python("batch", "raise SystemExit(4)", long_running=False))
    with pytest.raises(StopLoopError):
        supervisor.loop({"batch": done})
    assert statuses == [4]


def test_an_impatient_stop_kills_what_ignores_the_signal_and_its_children(tmp_path: Path) -> None:
    code = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid)
time.sleep(60)
"""
    output = io.StringIO()
    supervisor = Supervisor(output, tmp_path)
    supervisor.start(python("worker", code))
    post_once(supervisor, output.getvalue)
    with pytest.raises(StopLoopError):
        supervisor.loop({"enough": stop_loop})
    supervisor.impatient = True
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < STOP_SECONDS[0]
    assert "worker did not end in time: killed" in output.getvalue()
    child = int(output.getvalue().splitlines()[0].rpartition("| ")[2])
    assert ends(child, 2)
