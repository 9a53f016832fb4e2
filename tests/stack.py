"""Zenith's own processes, started by a test module and ended with it: workers, engines, web processes.

The database's tables are emptied after every test while these go on running. That does no harm as long as nothing is under
way then, so the fixture `stack` waits for the end of what a test began before it lets the test go.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from celery import current_app
from django.db import connection

from tasks_app.models import Task
from tests.processes import NOWHERE, REPOSITORY, TAIL, Process
from tests.servers import ADMIN_URL
from tests.waiting import eventually
from zenith_site.embedded.state import addresses
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.states import OPEN, Status

T = TypeVar("T")

#: Every queue a test may use; none may hold a message when a test ends.
QUEUES = ("default",)


def environment(**changes: str) -> dict[str, str]:
    """Return the environment for a process with the test's own settings, database and Redis."""
    base, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    # zenith_site.asgi sets it in a test that imports it; a worker must not take it over.
    kept_back = {"ZENITH_PROCESS", "DJANGO_ALLOW_ASYNC_UNSAFE", ADMIN_URL}
    inherited = {name: value for name, value in os.environ.items() if name not in kept_back}
    return {
        **inherited,
        "DATABASE_URL": f"{base}/{connection.settings_dict['NAME']}",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        **changes,
    }


class Stack:
    """The processes of one test module."""

    def __init__(self, directory: Path, **changes: str) -> None:
        self.directory = directory
        self.processes: list[Process] = []
        self._changes = changes

    def start(self, name: str, *command: str, **changes: str) -> Process:
        """Start a process; its name tells its log from others'."""
        process = Process(name, list(command), self.directory / f"{name}.log", environment(**{**self._changes, **changes}))
        self.processes.append(process)
        return process

    def worker(self, name: str, *options: str, concurrency: int = 2, **changes: str) -> Process:
        """Start a worker, as the user of Redis that workers are and without a database; wait until it beats and listens."""
        changes.setdefault("REDIS_URL", addresses(Path(os.environ["ZENITH_DATA_DIR"])).worker_redis_url)
        changes.setdefault("DATABASE_URL", NOWHERE)
        command = ("-m", "celery", "-A", "zenith_site", "worker", "-n", name, "-c", str(concurrency), "-l", "WARNING", *options)
        process = self.start(name, *command, **changes)
        pid = process.popen.pid
        self._ready(process, lambda: any((beat.name, beat.pid) == (name, pid) for beat in heartbeat.read_all()) and answers(name))
        return process

    def engine(self, name: str = "engine", *options: str) -> Process:
        """Start an engine and wait until its recorder reads."""
        before = _recorders()
        process = self.start(name, "manage.py", "run_engine", *options)
        self._ready(process, lambda: _recorders() - before)
        return process

    def web(self, port: int, name: str = "web", *options: str) -> Process:
        """Start a web process and wait until it answers."""
        process = self.start(name, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), *options, "zenith_site.asgi:application")
        self._ready(process, lambda: _answers(port))
        return process

    def settle(self, *, within: float = 40.0) -> None:
        """Wait until no task is under way any more."""
        eventually(lambda: not _under_way(), within=within, but=lambda: f"{_under_way()}\n{self.news()}")

    def news(self) -> str:
        """Return what the processes wrote since the last call."""
        parts = ((process.name, process.news()) for process in self.processes)
        return "\n".join(f"--- {name}\n{text}" for name, text in parts if text)

    def stop(self) -> None:
        """End everything, the newest first."""
        problems = []
        for process in reversed(self.processes):
            try:
                process.stop()
            except AssertionError as error:
                problems.append(str(error))
        self.processes.clear()
        assert not problems, "\n".join(problems)

    def _ready(self, process: Process, condition: Callable[[], object]) -> None:
        def ready() -> bool:
            assert process.runs, f"{process.name} ended:\n{process.output[-TAIL:]}"
            return bool(condition())

        eventually(ready, within=40, but=lambda: f"{process.name} is not ready:\n{process.output[-TAIL:]}")


class Gate:
    """Keeps `sample.meet` tasks running until it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def holds(self, queue: str = "default") -> str:
        """Send a task that runs until then; return its id."""
        return str(current_app.send_task("sample.meet", args=[str(self._path)], queue=queue).id)

    def open(self) -> None:
        """Let all of them end."""
        self._path.touch()


def running(directory: Path, **changes: str) -> Iterator[Stack]:
    """Yield a stack for a module's fixture and end it afterwards."""
    stream.client().flushdb()
    stack = Stack(directory, **changes)
    try:
        yield stack
    finally:
        stack.stop()


def settling(stack: Stack) -> Iterator[Stack]:
    """Yield a stack for one test; show what its processes wrote should the test fail."""
    stack.news()
    try:
        yield stack
        stack.settle()
    finally:
        print(stack.news())  # noqa: T201 (pytest shows it for a failed test only)


def answers(worker: str) -> bool:
    """Return whether a worker listens to remote control."""
    with current_app.connection_for_write() as connection:
        return bool(current_app.control.ping([worker], timeout=3, limit=1, connection=connection))


def inspected(worker: str, ask: Callable[[Any], dict[str, T] | None]) -> T | None:
    """Return what a worker says of itself; None where it does not answer in time.

    Over a connection of its own, as in `answers`: another test may have cut those that Celery keeps.
    """
    with current_app.connection_for_write() as connection:
        return (ask(current_app.control.inspect([worker], timeout=5, connection=connection)) or {}).get(worker)


def _recorders() -> set[str]:
    """Return Redis' numbers of the connections on which a recorder waits for entries."""
    return {client["id"] for client in stream.client().client_list() if client["cmd"] == "xreadgroup"}


def _answers(port: int) -> bool:
    try:
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        asking.request("GET", "/login/")
        return asking.getresponse().status < 400
    except OSError:
        return False


def _under_way() -> dict[str, object]:
    """Return what has not come to an end, by where it is; what waits for its time or has no worker does not count."""
    client = stream.client()
    found = {
        "tasks": list(
            Task.objects.filter(status__in=OPEN - {Status.SCHEDULED}, queue__in=QUEUES).values_list("name", "status", "id")[:5]
        ),
        "entries": stream.length(),
        "messages": sum(int(client.llen(queue)) for queue in QUEUES),
        "unacknowledged": int(client.hlen("unacked")),
    }
    return {name: value for name, value in found.items() if value}
