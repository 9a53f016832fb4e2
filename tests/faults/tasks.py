"""The fault suite's tasks: each notes in a table of its own when its body began and when it ended.

The table is written over a connection of its own that commits each statement, so it tells what really ran, whatever Zenith
believes. A body waits for PostgreSQL where that is away: a fault in the note would be taken for one in Zenith.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any
from uuid import uuid4

import psycopg
from celery import Task, shared_task
from celery.exceptions import Ignore

from zenith_worker.wire.ids import key_of

CREATE_TABLE = """
    CREATE TABLE IF NOT EXISTS fault_run (id uuid PRIMARY KEY, task_id uuid NOT NULL, attempt int NOT NULL,
        worker text NOT NULL, pid int NOT NULL, began double precision NOT NULL, ended double precision)
"""
_PATIENCE = 120.0


class NotYetError(RuntimeError):
    """Raised on purpose; another attempt mends it."""


class HopelessError(RuntimeError):
    """Raised on purpose, every time."""


class _Notes:
    """One process's connection for its notes."""

    def __init__(self) -> None:
        self._pid = 0
        self._connection: psycopg.Connection[Any] | None = None

    def write(self, statement: str, *values: Any) -> None:
        """Run a statement that may be run twice, as soon as PostgreSQL answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._open().execute(statement, values)
                return
            except psycopg.OperationalError:
                self._connection = None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._pid != os.getpid():
            self._connection = psycopg.connect(os.environ["NOTES_URL"], autocommit=True, connect_timeout=5)
            self._pid = os.getpid()
        return self._connection


_notes = _Notes()


def _now() -> float:
    # Not time.time(): one case gives a worker a wrong one.
    return time.clock_gettime(time.CLOCK_REALTIME)


class Noted:
    """The block in which a task's body runs; an end is noted however it comes, but for the process's own."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._id = uuid4()

    def __enter__(self) -> None:
        request = self._task.request
        _notes.write(
            "INSERT INTO fault_run VALUES (%s, %s, %s, %s, %s, %s, NULL) ON CONFLICT (id) DO NOTHING",
            self._id, key_of(request.id, os.environ["NOTES_APPLICATION"]), request.retries, request.hostname, os.getpid(), _now(),
        )  # fmt: skip

    def __exit__(self, *_: object) -> None:
        _notes.write("UPDATE fault_run SET ended = %s WHERE id = %s", _now(), self._id)


@shared_task(name="faults.short", bind=True)
def short(self: Task) -> int:
    """Do nothing worth naming."""
    with Noted(self):
        return 1


@shared_task(name="faults.long", bind=True)
def long(self: Task, seconds: float = 1.0) -> float:
    """Take some time."""
    with Noted(self):
        time.sleep(seconds)
        return seconds


@shared_task(name="faults.flaky", bind=True, retry_backoff_base=0.2)
def flaky(self: Task, times: int = 2) -> int:
    """Fail so many times, then succeed."""
    with Noted(self):
        if self.request.retries < times:
            raise NotYetError(f"attempt {self.request.retries + 1}")
        return times


@shared_task(name="faults.hopeless", bind=True, retry_backoff_base=0.2)
def hopeless(self: Task) -> None:
    """Fail always."""
    with Noted(self):
        raise HopelessError("always")


@shared_task(name="faults.body", bind=True)
def body(self: Task, results: list[int]) -> int:
    """Be the body of a chord."""
    with Noted(self):
        return sum(results)


@shared_task(name="faults.swap", bind=True)
def swap(self: Task) -> Any:
    """Send another task in its own place."""
    raise self.replace(short.s())


@shared_task(name="faults.ignored", bind=True)
def ignored(self: Task) -> None:
    """Want no outcome."""
    with Noted(self):
        raise Ignore


@shared_task(name="faults.poison", bind=True)
def poison(self: Task) -> None:
    """Kill the process that runs it, every time."""
    with Noted(self):
        os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="faults.noop")
def noop() -> None:
    """Run without a note, for cases with many tasks."""
