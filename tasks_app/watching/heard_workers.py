"""The workers of one watched application, from their events and from what they answer (inspection.py)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tasks_app.watching.declarations import Declaration, declarations
from tasks_app.watching.evidence import Evidence
from tasks_app.watching.told_settings import TaskOptions, Told
from tasks_app.watching.translation import NAME_KEPT, OddEventError, is_name, time_of
from zenith_worker.wire import heartbeat, worker_settings
from zenith_worker.wire.client import is_text
from zenith_worker.wire.heartbeat import Heard

#: Ids of a worker's tasks, and queues, that are kept.
HELD_KEPT: Final = 1000
QUEUES_KEPT: Final = 200
#: Seconds between two heartbeats that a worker may claim.
_RAREST: Final = 300.0
#: Names of tasks, with how many of each wait for their ETA, that are kept.
NAMES_KEPT: Final = 20
#: Seconds without a word after which a worker is asked no more, and knows no tasks.
LIVES: Final = 20.0
#: Seconds after which a worker is asked again for its tasks, and for its settings if it did not answer.
TASKS_KEPT: Final = 60.0
ASKED_AGAIN: Final = 15.0
#: Events that say that a worker lives.
_ALIVE: Final = ("worker-online", "worker-heartbeat")


@dataclass(slots=True)
class Worker:
    """What is known of a worker; None is not known. Times are Unix time in seconds."""

    heard_at: float
    evidence: Evidence
    every: float | None = None
    clock: float | None = None
    pid: int | None = None
    busy: int | None = None
    processed: int | None = None
    version: str = ""
    slots: int | None = None
    pool: str = ""
    prefetch: int | None = None
    started_at: float | None = None
    queues: list[str] | None = None
    declared: dict[str, Declaration] = field(default_factory=dict)
    held: list[str] | None = None
    autoscale: tuple[int, int] | None = None
    #: Its tasks whose messages are not acknowledged, and those that wait for their ETA, by name.
    unacknowledged: list[str] | None = None
    not_yet: list[tuple[str, int]] | None = None
    told: Told | None = None
    #: When it was asked for its settings.
    asked_at: float = 0.0
    #: Whether it loads `zenith_worker`, so that it reports by itself.
    attached: bool = False

    def lives(self, now: float) -> bool:
        """Whether it was heard lately."""
        return now - self.heard_at < max(LIVES, 3 * (self.every or 0))

    def body(self, now: float) -> dict[str, Any]:
        """Return the fields of its heartbeat, with the names of those that are not known."""
        told = {
            "pid": self.pid, "slots": self.slots, "busy": self.busy, "queues": self.queues, "held": self.held,
            "version": self.version or None,
        }  # fmt: skip
        empty: dict[str, Any] = {"pid": 0, "slots": 0, "busy": 0, "queues": [], "held": [], "version": ""}
        optional = {
            "pool": self.pool or None, "prefetch": self.prefetch, "clock": self.clock, "started_at": self.started_at,
            "processed": self.processed, "autoscale": self.autoscale, "sends_events": self.evidence.sends_events(now),
            "clock_ahead": self.evidence.clock_ahead(now),
            "settings": worker_settings.as_json(self.told.settings) if self.told else None,
            # Known if `held` is.
            "tags": self.unacknowledged, "not_yet": self.not_yet,
        }  # fmt: skip
        return {
            **{name: empty[name] if value is None else value for name, value in told.items()},
            **{name: value for name, value in optional.items() if value is not None},
            "unknown": [name for name, value in told.items() if value is None],
        }


@dataclass(slots=True)
class HeardWorkers:
    """All workers of an application that were heard lately. Safe for threads."""

    _workers: dict[str, Worker] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)
    _has_started: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, event: Mapping[str, Any], received: float, *, waited: bool = True) -> None:
        """Take in an event of a worker; `waited`: it may have waited on its way. Raises OddEventError."""
        name, type_ = event.get("hostname"), event["type"]
        if not is_name(name):
            raise OddEventError("its hostname is no name")
        time_of(event, received)
        with self._lock:
            if type_ == "worker-offline":
                self._workers.pop(name, None)
                if len(self._gone) < heartbeat.READ_AT_MOST:
                    self._gone.add(name)
            elif type_ in _ALIVE and (worker := self._worker(name, received)) is not None:
                _take_event(worker, event, received, waited=waited)
                self._has_started = self._has_started or type_ == "worker-online"

    def take_started(self) -> bool:
        """Return whether a worker has started since the last call."""
        if not self._has_started:
            return False
        with self._lock:
            self._has_started = False
        return True

    def heard(self, name: str, received: float, *, by_itself: bool = True) -> None:
        """Note that a worker has told something of a task, by itself or because it was asked."""
        worker = self._workers.get(name)
        if worker is None:
            with self._lock:
                worker = self._worker(name, received)
        if worker is not None:
            worker.heard_at = received
            if by_itself:
                worker.evidence.take_task(received)

    def take_answers(self, answers: Mapping[str, Mapping[str, Any]], now: float, *, every: float) -> None:
        """Take in what workers answered, by name and question; `every`: seconds between two inspections."""
        with self._lock:
            for name, answer in answers.items():
                worker = self._worker(name, now) if is_name(name) else None
                if worker is not None:
                    _take_answer(worker, answer, now)
                    worker.every = worker.every or every

    def to_ask(self, now: float, most: int) -> dict[str, Told | None]:
        """Return the workers to be asked for their settings and tasks now, at most so many, with what they have told.

        Those that were not asked for longest come first. Settings stay the same while a worker runs, but not its tasks' options.
        """
        with self._lock:
            due = [
                (worker.asked_at, name) for name, worker in self._workers.items()
                if now - worker.asked_at >= (TASKS_KEPT if worker.told else ASKED_AGAIN)
                and not worker.attached and worker.lives(now)
            ]  # fmt: skip
            names = [name for _, name in sorted(due)[:most]]
            for name in names:
                self._workers[name].asked_at = now
            return {name: self._workers[name].told for name in names}

    def take_settings(self, told: Mapping[str, Told]) -> None:
        """Take in what workers told of their settings, by name."""
        with self._lock:
            for name, answer in told.items():
                if worker := self._workers.get(name):
                    # Workers with the same code share what they have.
                    same = (one.told.tasks for one in self._workers.values() if one.told and one.told.tasks == answer.tasks)
                    worker.told = answer._replace(tasks=next(same, answer.tasks))

    def tasks(self, now: float) -> list[Mapping[str, TaskOptions] | None]:
        """Return the tasks that each worker has told lately to have, each set once; None for a worker that has not told."""
        with self._lock:
            found = [worker.told.tasks if worker.told else None for worker in self._workers.values() if worker.lives(now)]
        return list({id(tasks): tasks for tasks in found}.values())

    def note_attached(self, names: set[str]) -> None:
        """Note which workers report by themselves: what they say is better."""
        with self._lock:
            for name, worker in self._workers.items():
                worker.attached = name in names

    def is_attached(self, name: str) -> bool:
        """Whether a worker reports by itself."""
        worker = self._workers.get(name)
        return worker is not None and worker.attached

    def only_queue(self, name: str) -> str:
        """Return the queue of a worker that consumes no other; empty if that is not known."""
        worker = self._workers.get(name)
        queues = worker.queues if worker is not None else None
        return queues[0] if queues and len(queues) == 1 else ""

    def declared(self) -> dict[str, Declaration]:
        """Return the queues that workers consume, as one of them declares each."""
        with self._lock:
            return {
                name: worker.declared.get(name, Declaration())
                for worker in self._workers.values()
                for name in worker.queues or ()
            }

    def names(self) -> list[str]:
        """Return the workers' names."""
        with self._lock:
            return sorted(self._workers)

    def versions(self) -> set[str]:
        """Return the versions of Celery that its workers have told."""
        with self._lock:
            return {worker.version for worker in self._workers.values()} - {""}

    def beats(self, now: float) -> tuple[list[Heard], set[str]]:
        """Return the heartbeats to write, and the workers that have shut down since the last call.

        A worker whose heartbeats are rarer than Zenith's own counts as offline after as many of them.
        """
        with self._lock:
            gone, self._gone = self._gone, set()
            for name in [name for name, worker in self._workers.items() if now - worker.heard_at > heartbeat.KEPT]:
                del self._workers[name]
            scale = {name: heartbeat.EVERY / max(heartbeat.EVERY, worker.every or 0) for name, worker in self._workers.items()}
            return [
                Heard(name, worker.body(now), max(0.0, now - worker.heard_at) * scale[name])
                for name, worker in self._workers.items()
                if not worker.attached
            ], gone

    def _worker(self, name: str, now: float) -> Worker | None:
        """Return a worker, new if it was not heard before; None if there are too many. Needs the lock."""
        worker = self._workers.get(name)
        if worker is None and len(self._workers) < heartbeat.READ_AT_MOST:
            worker = self._workers[name] = Worker(now, Evidence(now))
        if worker is not None:
            worker.heard_at = now
            self._gone.discard(name)
        return worker


def _take_event(worker: Worker, event: Mapping[str, Any], received: float, *, waited: bool) -> None:
    every, pid = event.get("freq"), _count(event.get("pid"))
    if None not in (pid, worker.pid) and pid != worker.pid:
        # Another run under the same name.
        worker.told, worker.asked_at, worker.evidence = None, 0.0, Evidence(received)
    worker.every = float(every) if isinstance(every, int | float) and 0 < every <= _RAREST else None
    worker.clock = float(event["timestamp"]) if 0 <= event["timestamp"] < 2**53 else None
    worker.pid, worker.busy, worker.processed = pid, _count(event.get("active")), _count(event.get("processed"))
    worker.evidence.take_heartbeat(received, worker.processed, float(event["timestamp"]), waited=waited)
    version = event.get("sw_ver")
    worker.version = version[:50] if isinstance(version, str) and _is_text(version) else ""


def _take_answer(worker: Worker, answer: Mapping[str, Any], now: float) -> None:
    stats = _object(answer.get("stats"))
    if stats:
        pool, uptime = _object(stats.get("pool")), _count(stats.get("uptime"))
        implementation, processes = pool.get("implementation"), pool.get("processes")
        # Prefork goes on telling the number that it was started with.
        worker.slots = len(processes) if isinstance(processes, list) and processes else _count(pool.get("max-concurrency"))
        worker.pool = _pool_name(implementation) if isinstance(implementation, str) else ""
        worker.prefetch = _count(stats.get("prefetch_count"))
        worker.started_at = None if uptime is None else max(0.0, now - uptime)
        scaler = _object(stats.get("autoscaler"))
        bounds = _count(scaler.get("min")), _count(scaler.get("max"))
        worker.autoscale = None if None in bounds else bounds  # type: ignore[assignment]
        worker.pid = worker.pid if worker.pid is not None else _count(stats.get("pid"))
    queues = answer.get("active_queues")
    if isinstance(queues, list):
        names = (queue.get("name") for queue in queues[:QUEUES_KEPT] if isinstance(queue, dict))
        worker.queues = sorted(name[:NAME_KEPT] for name in names if isinstance(name, str) and _is_text(name))
        worker.declared = declarations(queues[:QUEUES_KEPT])
    held = answer.get("held")
    if isinstance(held, list):
        worker.held = [id_ for id_ in held[:HELD_KEPT] if _is_text(id_)]
        unacknowledged = answer["unacknowledged"]
        worker.unacknowledged = [id_ for id_ in unacknowledged[:HELD_KEPT] if _is_text(id_)]
        numbers = Counter(name[:NAME_KEPT] for name in answer["not_yet"] if _is_text(name))
        worker.not_yet = numbers.most_common(NAMES_KEPT)


def _pool_name(implementation: str) -> str:
    """Return a pool's name as Celery's option `--pool` calls it: `celery.concurrency.prefork:TaskPool` is prefork."""
    return implementation.partition(":")[0].rpartition(".")[2][:50] if _is_text(implementation) else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _is_text(value: str) -> bool:
    """Whether PostgreSQL and Redis can hold a text."""
    return "\x00" not in value and is_text(value)
