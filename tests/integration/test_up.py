"""`manage.py up` starts everything, says what is wrong in one line, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.processes import free_port

pytestmark = pytest.mark.processes

READY_SECONDS = 240
STOP_SECONDS = 180
API_KEY = "a-key-for-the-tests-0123456789"


class Up:
    """One `manage.py up` and what it printed."""

    def __init__(self, data_dir: Path, log: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.data_dir = data_dir
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(REPOSITORY / "manage.py"), "up", "--port", str(self.port), *options],
                # Not the repository: nothing may depend on where it is started.
                cwd=data_dir.parent,
                env=environment(data_dir),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = READY_SECONDS) -> None:
        """Wait until a text is printed; the output is shown when it is not."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, seconds)
        assert text in self.output, self.output

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end, for which a busy machine may take its time."""
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS)

    def descendants(self) -> list[int]:
        """The pids of everything that runs on its data directory or below it in the tree of processes."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._owns(entry)]

    def _owns(self, entry: Path) -> bool:
        marker = f"ZENITH_DATA_DIR={self.data_dir}\0".encode()
        try:
            # PostgreSQL overwrites its environment with the title of the process: its directory tells it.
            belongs = marker in (entry / "environ").read_bytes() or os.readlink(entry / "cwd").startswith(str(self.data_dir))
            return (
                belongs
                and int(entry.name) != self.process.pid
                and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            )
        except OSError:
            return False


def environment(data_dir: Path, **changes: str) -> dict[str, str]:
    """The environment of a user who has set nothing but the data directory."""
    ours = ("ZENITH_", "DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "PORT")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **clean,
        "ZENITH_DATA_DIR": str(data_dir),
        "ZENITH_ENV_FILE": os.devnull,
        "ZENITH_API_KEY": API_KEY,
        "ZENITH_WORKER_CONCURRENCY": "1",
        **changes,
    }


def run_up(data_dir: Path, *options: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run `up` where it is expected to end by itself."""
    command = [sys.executable, str(REPOSITORY / "manage.py"), "up", *options]
    return subprocess.run(
        command, env=environment(data_dir, **changes), capture_output=True, text=True, check=False, timeout=READY_SECONDS
    )


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds, or so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, object]:
    """Ask the web process for JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory with a space in its path, within reach of PostgreSQL's user."""
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o711)
    yield tmp_path / "data dir"
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def start(data_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start `up`, as often as wanted; whatever still runs at the end of the test is killed."""
    started: list[Up] = []

    def start_one(*options: str, port: int | None = None) -> Up:
        started.append(Up(data_dir, tmp_path / f"up-{len(started)}.log", *options, port=port))
        return started[-1]

    yield start_one
    for up in started:
        up.process.kill()
        up.process.wait()
        wait_until(lambda up=up: not up.descendants(), STOP_SECONDS)  # type: ignore[misc]
        for pid in up.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.faults
def test_the_whole_life(start: Callable[..., Up]) -> None:
    """First start with its batch; a second `up` refused; a worker killed; the stop; a start that keeps all, and is killed."""
    up = start()
    up.wait_for("Zenith is up")
    assert API_KEY in up.output
    assert len(re.findall(r"batch +\| .*SUCCESS", up.output)) == 10, up.output

    second = run_up(up.data_dir, "--port", str(free_port()))
    assert second.returncode == 1
    assert f"pid {up.process.pid}, http://127.0.0.1:{up.port}" in second.stderr
    assert len(second.stderr.splitlines()) == 1

    status, health = get(up.port, "/health")
    assert (status, health["status"], health["workers"]) == (200, "active", 1)  # type: ignore[index]

    worker = next(pid for pid in up.descendants() if b"celery\0-A" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(worker, signal.SIGKILL)
    up.wait_for("worker ended (signal SIGKILL) unexpectedly; starting it again")

    up.stop(signal.SIGINT)
    assert up.process.returncode == 0, up.output
    wait_until(lambda: not up.descendants(), STOP_SECONDS)
    assert up.descendants() == []

    again = start()
    again.wait_for("Zenith is up")
    assert "first batch" not in again.output
    status, tasks = get(again.port, "/tasks/all", {"X-API-Key": API_KEY})
    assert status == 200
    assert len(tasks) == 10  # type: ignore[arg-type]
    # Only Linux tells a process that its parent died.
    if sys.platform == "linux":
        assert len(again.descendants()) > 5
        again.process.kill()
        again.process.wait()
        wait_until(lambda: not again.descendants(), STOP_SECONDS)
        assert again.descendants() == []


def test_a_signal_while_starting_ends_it_cleanly(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("preparing the database")
    up.stop()
    assert up.process.returncode == 0, up.output
    assert "Traceback" not in up.output
    wait_until(lambda: not up.descendants(), STOP_SECONDS)
    assert up.descendants() == []


def test_a_port_in_use_is_named_in_one_line(data_dir: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        done = run_up(data_dir, ZENITH_PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"Port {port} on 127.0.0.1 cannot be used (Address already in use): stop what runs there, "
        "or set ZENITH_PORT (or --port) to another."
    ]


@pytest.mark.parametrize(
    ("options", "changes", "expected"),
    [
        ((), {"ZENITH_HOST": "not a host"}, "ZENITH_HOST='not a host' is not accepted"),
        ((), {"ZENITH_HOST": "192.0.2.1"}, "on 192.0.2.1 cannot be used"),
        ((), {"ZENITH_PORT": "0"}, "ZENITH_PORT='0' is not accepted: it takes a whole number from 1 to 65535."),
        ((), {"ZENITH_ENV": "production"}, "ZENITH_SECRET_KEY is not set"),
        (("--port", "http"), {}, "'http' is not accepted: it takes a whole number from 1 to 65535"),
        (("--concurrency", "0"), {}, "'0' is not accepted: it takes a whole number from 1 to 1000"),
    ],
)
def test_a_wrong_setting_stops_it_with_its_name(
    data_dir: Path, options: tuple[str, ...], changes: dict[str, str], expected: str
) -> None:
    done = run_up(data_dir, *options, **changes)
    assert done.returncode != 0
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (data_dir / "postgres").exists()


def test_a_server_that_does_not_answer_is_told_with_a_status(data_dir: Path) -> None:
    away = f"postgres://zenith:secret@127.0.0.1:{free_port()}/zenith"
    done = run_up(data_dir, "--port", str(free_port()), DATABASE_URL=away, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be reached: check DATABASE_URL" in done.stderr
