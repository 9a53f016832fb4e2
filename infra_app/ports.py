"""What nodes need to know of tasks, as protocols: the apps do not import each other, so the site fills them in at start.

docs/decisions/0009 says why. `zenith_site/bridges.py` implements them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker's newest heartbeat."""

    name: str
    online: bool
    queues: tuple[str, ...]
    slots: int
    busy: int
    held: int
    started_at: float | None


@dataclass(frozen=True, slots=True)
class WorkSeen:
    """A task that a worker has or had."""

    id: UUID
    name: str
    queue: str
    status: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueuePressure:
    """How a queue stands. Rates are per second; None where nothing is known of them yet."""

    name: str
    waiting: int
    oldest_seconds: float | None
    rate_in: float | None
    rate_out: float
    consumers: tuple[str, ...]
    paused: bool


class Work(Protocol):
    """Tasks, workers and queues, as far as nodes need them. Each raises redis.RedisError or django.db.Error."""

    def beats(self) -> dict[str, Beat]:
        """Return the newest heartbeat of every worker heard of lately, by name."""

    def tasks_of(self, worker: str, limit: int) -> list[WorkSeen]:
        """Return the newest tasks of a worker, those that run first."""

    def pressure(self, queue: str) -> QueuePressure:
        """Return how a queue stands."""

    def drain(self, worker: str) -> None:
        """Tell a worker to take nothing more; raises an error of zenith_site.common.errors where it cannot be told."""


class _Filled:
    work: Work | None = None


def fill(work: Work) -> None:
    """Take what the site provides; called once at start."""
    _Filled.work = work


def work() -> Work:
    """Return what the site provides."""
    if _Filled.work is None:
        raise RuntimeError("Nobody has called infra_app.ports.fill(); the site does so at start.")
    return _Filled.work
