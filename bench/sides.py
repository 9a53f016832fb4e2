"""The sides of the throughput benchmark: each runs the same tasks from the same Redis with four pool processes.

1. `stash` puts messages on a list that no worker reads, so that sending is not measured.
2. `release` renames that list to the worker's queue, so that all messages arrive at the same instant.
3. `wait` returns once the last task has finished and, if the side stores results, is stored.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import psycopg

from bench import tasks
from bench.lab import Lab
from bench.processes import Processes, run_quietly, wait_until
from bench.texts import text_of

CONCURRENCY = 4
TEXT_SIZE = 18 * 1024
STASH = "stash"


@dataclass(frozen=True)
class Work:
    """A task to run, and the size of its text argument."""

    task: str
    text_size: int = 0

    @property
    def label(self) -> str:
        """A description for people."""
        return f"{self.task} on {self.text_size // 1024} KB" if self.text_size else "no-op"


NOOP = Work(tasks.NAME)
TEXT = Work("analyze_text", TEXT_SIZE)


class Side(ABC):
    """A worker and the processes that belong to it.

    Arguments:
        lab: the servers.
        number: the Redis database that only this side uses.
    """

    name: ClassVar[str]
    queue: ClassVar[str] = "celery"

    def __init__(self, lab: Lab, number: int, environment: dict[str, str] | None = None) -> None:
        self.lab = lab
        self.broker_url = lab.redis_url(number)
        self.redis = lab.redis(number)
        self.environment = {"BENCH_NAME": str(number), "BENCH_BROKER": self.broker_url, **(environment or {})}
        self.processes = Processes(lab.logs, self.environment)

    @abstractmethod
    def start(self) -> None:
        """Start the worker and the other processes."""

    @abstractmethod
    def send(self, work: Work, count: int) -> None:
        """Put messages on the stash."""

    def stored(self) -> bool:
        """Whether all outcomes are stored; always true for a side that stores none."""
        return True

    def stash(self, work: Work, count: int) -> None:
        """Put messages on the stash and wait until it is complete."""
        self.send(work, count)
        wait_until(lambda: self.redis.llen(STASH) >= count, self.processes, what="sending")

    def release(self) -> None:
        """Move the stash to the worker's queue."""
        self.redis.rename(STASH, self.queue)

    def wait(self) -> None:
        """Wait until everything is done: poll Redis, which is cheap, and PostgreSQL only at the end."""
        wait_until(self._is_drained, self.processes, what=f"{self.name}: running the tasks", seconds=300)
        wait_until(self.stored, self.processes, what=f"{self.name}: storing the outcomes")

    def stop(self) -> None:
        """Stop the processes and delete the Redis keys."""
        self.processes.stop()
        self.redis.flushdb()

    def _is_drained(self) -> bool:
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.llen(self.queue)
            pipe.hlen("unacked")
            return not any(pipe.execute())

    def _publish(self, app: str, work: Work, count: int) -> None:
        command = [sys.executable, "-m", "bench.peers.publish", app, STASH, work.task, str(count), str(work.text_size)]
        run_quietly(command, self.environment)

    def _start_worker(self, app: str, *options: str) -> None:
        self.processes.start(
            "worker", [sys.executable, "-m", "celery", "-A", app, "worker", "--concurrency", str(CONCURRENCY), *options]
        )


class Bare(Side):
    """Celery with its defaults and ignored results."""

    name = "bare Celery"

    def start(self) -> None:
        """Start the worker."""
        self._start_worker("bench.peers.bare")

    def send(self, work: Work, count: int) -> None:
        """Send from a separate process."""
        self._publish("bench.peers.bare", work, count)


class BareLate(Bare):
    """Celery with Zenith's delivery settings, to separate their cost from that of tracking."""

    name = "bare Celery, late acks, prefetch 1"

    def __init__(self, lab: Lab, number: int) -> None:
        super().__init__(lab, number, {"BENCH_DELIVERY": "late"})


class Zenith(Side):
    """Zenith as `manage.py up` runs it: worker and engine."""

    name = "Zenith"
    queue = "default"

    def __init__(self, lab: Lab, number: int = 0) -> None:
        super().__init__(lab, number)
        self._batches: list[Any] = []
        self._expected = 0

    def start(self) -> None:
        """Start worker and engine."""
        from zenith_site.launch import programs

        for program in (programs.worker(CONCURRENCY, self.queue), programs.engine()):
            self.processes.start(program.name, program.command, program.environment)

    def send(self, work: Work, count: int) -> None:
        """Dispatch in parts of at most MAX_COUNT tasks."""
        from tasks_app.dispatch.create import MAX_COUNT, Dispatch, Origin, dispatch

        self._batches, self._expected = [], count
        kwargs: dict[str, Any] = {"data": text_of(work.text_size)} if work.text_size else {}
        while count:
            part = min(count, MAX_COUNT)
            done = dispatch(Dispatch(task=work.task, count=part, queue=STASH, **kwargs), Origin(source="command"))
            self._batches.append(done.batch_id)
            count -= part

    def stored(self) -> bool:
        """Whether every row is SUCCESS; queries PostgreSQL only once the stream is empty."""
        from tasks_app.models import Task
        from zenith_worker.wire import stream

        if stream.length():
            return False
        succeeded = Task.objects.filter(batch__in=self._batches, status="SUCCESS").count()
        return succeeded == self._expected


class OutOfTheBox(Side):
    """django-celery-results on PostgreSQL, worker events, Flower connected."""

    name = "django-db + events + Flower"
    tuned: ClassVar[bool] = False

    def __init__(self, lab: Lab, number: int) -> None:
        self.database = lab.database_url(f"plain{number}")
        environment = {"BENCH_DATABASE": self.database, "DJANGO_SETTINGS_MODULE": "bench.peers.plain_settings"}
        super().__init__(lab, number, environment | ({"BENCH_TUNED": "1"} if self.tuned else {}))
        self._expected = 0

    def start(self) -> None:
        """Create the database, and start the worker with events and Flower."""
        self.lab.create_database(self.database.rpartition("/")[2])
        run_quietly([sys.executable, "-m", "django", "migrate", "--verbosity", "0"], self.environment)
        self._start_worker("bench.peers.plain", "--task-events")
        flower = ["flower", "--address=127.0.0.1", "--port=0"]
        self.processes.start("flower", [sys.executable, "-m", "celery", "-A", "bench.peers.plain", *flower])
        self.connection = psycopg.connect(self.database, autocommit=True)

    def send(self, work: Work, count: int) -> None:
        """Send from a separate process."""
        self.connection.execute("TRUNCATE django_celery_results_taskresult")
        self._expected = count
        self._publish("bench.peers.plain", work, count)

    def stored(self) -> bool:
        """Whether every result is stored."""
        query = "SELECT count(*) FROM django_celery_results_taskresult WHERE status = 'SUCCESS'"
        row = self.connection.execute(query).fetchone()
        return row is not None and row[0] == self._expected

    def stop(self) -> None:
        """Stop the processes and close the connection."""
        super().stop()
        if hasattr(self, "connection"):
            self.connection.close()


class Tuned(OutOfTheBox):
    """The same, with persistent connections to PostgreSQL."""

    name = "the same, CELERY_DB_REUSE_MAX set"
    tuned = True
