"""The sides of the benchmark of watching: each hears the same events of one application, from the same Redis.

1. Both listen, and are stopped by SIGSTOP. Events are told, which wait in Redis for each of them.
2. One goes on, until it has taken in the last one: Flower in memory, Zenith in PostgreSQL.
3. Whether nothing is missing is checked afterwards.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sys
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bench.lab import Lab
from bench.processes import BenchError, Processes, run_quietly, wait_until

NAME = "shop"
#: Redis' database of the application.
DATABASE = 5
#: Seconds that a side may take for the events of one round.
PATIENCE = 300.0


@dataclass(frozen=True)
class Told:
    """What was told in one round; bench/peers/events.py explains it."""

    events: int
    of_tasks: int
    tasks: int
    steps: int
    last: str
    ends: dict[str, int]


@dataclass
class Recorded:
    """What PostgreSQL must hold by now."""

    tasks: int = 0
    steps: int = 0
    ends: Counter[str] = field(default_factory=Counter)


def tell(lab: Lab, count: int, seed: int, *, pace: int = 0) -> Told:
    """Tell about `count` events; with `pace`, only as fast as they are heard: Redis holds at most so many bytes for each side."""
    command = [sys.executable, "-m", "bench.peers.events", lab.redis_url(DATABASE), str(count), str(seed), "--pace", str(pace)]
    return Told(**json.loads(run_quietly(command, {})))


def listeners(lab: Lab) -> int:
    """Return how many listen to events."""
    return sum(client["psub"] != "0" for client in lab.redis(DATABASE).client_list(_type="pubsub"))


class Watcher(ABC):
    """Processes that watch the application.

    Attributes:
        processes: its programs, by role.
    """

    name: ClassVar[str]

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.processes = Processes(lab.logs, {"BENCH_NAME": type(self).__name__.lower()})

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until it listens."""

    @abstractmethod
    def has_ended(self, task: str) -> bool:
        """Whether a task has ended, as far as this side knows."""

    @abstractmethod
    def note(self, told: Told) -> None:
        """Note that this must have been taken in by now."""

    @abstractmethod
    def check(self) -> None:
        """Raise BenchError unless everything that was noted was taken in."""

    def wait(self, told: Told) -> None:
        """Wait until the last task has ended."""
        wait_until(lambda: self.has_ended(told.last), self.processes, what=self.name, seconds=PATIENCE, every=0.05)

    def stop(self) -> None:
        """Stop the processes."""
        self.processes.stop()

    def _await_listener(self, before: int) -> None:
        wait_until(lambda: listeners(self.lab) > before, self.processes, what=f"{self.name}: listening", seconds=60, every=0.1)


class Flower(Watcher):
    """Flower in an environment of its own, which keeps 100,000 tasks in memory."""

    name = "Flower"

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._expected = 0

    def start(self) -> None:
        """Start Flower."""
        before = listeners(self.lab)
        broker = ["-b", self.lab.redis_url(DATABASE)]
        options = ["--address=127.0.0.1", f"--port={self.port}", "--logging=warning"]
        command = [flower_python(self.lab), "-m", "celery", *broker, "flower", *options]
        self.processes.start("flower", command, {"FLOWER_UNAUTHENTICATED_API": "true"})
        self._await_listener(before)

    def has_ended(self, task: str) -> bool:
        """Whether its API knows that the task has ended."""
        status, body = self._ask(f"/api/task/info/{task}")
        return status == 200 and json.loads(body)["state"] == "SUCCESS"

    def note(self, told: Told) -> None:
        """Add it to what its counters must show."""
        self._expected += told.of_tasks

    def check(self) -> None:
        """Check its own counters of tasks' events."""
        _, body = self._ask("/metrics")
        heard = sum(float(value) for value in re.findall(r"^flower_events_total\{.*\} (\S+)$", body.decode(), re.MULTILINE))
        if heard < self._expected:
            raise BenchError(f"Flower heard {heard:,.0f} of {self._expected:,} events")

    def _ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return 0, b""  # not up yet
        finally:
            connection.close()


class Zenith(Watcher):
    """Zenith's engine, as `make run` starts it."""

    name = "Zenith, one engine"

    def __init__(self, lab: Lab, expected: Recorded) -> None:
        super().__init__(lab)
        self._expected = expected

    def start(self) -> None:
        """Have the application watched, and start the engine."""
        from tasks_app.watching.applications import Watch, watch

        before = listeners(self.lab)
        watch(NAME, Watch(url=self.lab.redis_url(DATABASE)))
        for role, options in self.programs().items():
            self.processes.start(role, [sys.executable, "-m", "zenith_site", "run_engine", *options])
        self._await_listener(before)

    def programs(self) -> dict[str, list[str]]:
        """Return the options of its engines by role."""
        return {"engine": []}

    def has_ended(self, task: str) -> bool:
        """Whether the task's row in PostgreSQL shows that it has ended."""
        from tasks_app.models import Task
        from zenith_worker.wire.ids import key_of

        return Task.objects.filter(id=key_of(task, NAME), status="SUCCESS").exists()

    def wait(self, told: Told) -> None:
        """Wait until the last task has ended, and no entry waits to be recorded."""
        from zenith_worker.wire import stream

        super().wait(told)
        wait_until(lambda: not stream.length(NAME), self.processes, what=self.name, every=0.05)

    def note(self, told: Told) -> None:
        """Add it to what PostgreSQL must hold."""
        self._expected.tasks += told.tasks
        self._expected.steps += told.steps
        self._expected.ends.update(told.ends)

    def check(self) -> None:
        """Check that each task, each step and each end is there once."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM tasks_app_task")
            tasks = cursor.fetchone()[0]
            cursor.execute("SELECT status, count(*) FROM tasks_app_taskevent GROUP BY 1")
            steps = Counter(dict(cursor.fetchall()))
        ends = Counter({status: steps[status] for status in self._expected.ends})
        if Recorded(tasks, steps.total(), ends) != self._expected:
            raise BenchError(f"{self.name} recorded {tasks:,} tasks and {steps.total():,} steps, {ends}, of {self._expected}")


class Apart(Zenith):
    """The same with a process for the observer and one for the recorder."""

    name = "Zenith, observer and recorder apart"

    def programs(self) -> dict[str, list[str]]:
        """Return the options of its engines by role."""
        return {"observer": ["--only", "observer"], "recorder": ["--only", "recorder"]}

    def state(self) -> Any:
        """Return what the observer says of itself."""
        from tasks_app.watching import observer_state

        return observer_state.read(NAME)


def flower_python(lab: Lab) -> str:
    """Return the interpreter of Flower's environment (tests/attached/flower.txt), which is made if it is missing."""
    from tests.attached.environments import python_of
    from tests.servers import RUN

    os.environ.setdefault(RUN, str(lab.directory))
    return str(python_of("flower"))
