"""Applications that are only watched and really are broken: the diagnosis names each by its right rule first.

Nothing of Zenith is in their workers. One worker is made to suffer from one thing after the other; what needs workers of its own
has applications of its own, whose workers start together.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from django.utils import timezone

from tasks_app.diagnosis.gather import diagnosis_of, gather
from tasks_app.maintenance import samples
from tasks_app.models import Application, DeadLetter, QueueSample, Task
from tasks_app.watching import queue_state
from tasks_app.watching.applications import Watch, watch
from tasks_app.watching.observers import Observers
from tests.attached.conftest import Company, redis_server
from tests.attached.environments import HERE
from tests.attached.recording import record
from tests.waiting import eventually
from zenith_worker.wire import heartbeat, stream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: Settings with which nothing is wrong; a worker's name and options; and a task of the shop.
GOOD = {"task_time_limit": 600, "task_send_sent_event": True}
ONE = ("-c", "1", "--prefetch-multiplier", "1")
ADD = ("shop.add", (1, 2))
#: The database for the results of all.
RESULTS = 15


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds and spans of a second instead of many."""
    for name, seconds in (
        ("watching.asking.ROUND", 0.5), ("watching.asking.INSPECT_EVERY", 1.0), ("watching.fact_rounds.SETTINGS_EVERY", 1.0),
        ("watching.fact_rounds.BROKER_EVERY", 1.0), ("watching.fact_rounds.WRITE_EVERY", 0.5),
        ("watching.heard_workers.TASKS_KEPT", 2.0), ("watching.heard_workers.ASKED_AGAIN", 2.0),
        ("watching.evidence.ASKED_AFTER", 3.0), ("watching.evidence.LATEST", 3.0), ("diagnosis.observation.SETTLED_AFTER", 4.0),
        ("diagnosis.worker_facts.SETTLED_AFTER", 0.0), ("diagnosis.worker_facts.LIMITED_AFTER", 1.0),
        ("diagnosis.rules.workers.STALLED_AFTER", 1.0), ("diagnosis.rules.workers.LONG_RUN", 1.0),
        ("diagnosis.rules.workers.LONG_FOR_PREFETCH", 0.5),
    ):  # fmt: skip
        monkeypatch.setattr(f"tasks_app.{name}", seconds)


@pytest.fixture
def server() -> Iterator[redis.Redis]:
    """The broker, which keeps its messages on disk; afterwards as it was."""
    client = redis.Redis.from_url(f"{redis_server()}/0", decode_responses=True)
    client.config_set("save", "3600 1")
    yield client
    for name, value in (("save", ""), ("maxmemory", "0"), ("maxmemory-policy", "noeviction")):
        client.config_set(name, value)


class Patient(Company):
    """One watched application on a database of its own."""

    def __init__(self, name: str, database: int, directory: Path, observers: Observers, version: str = "5.7") -> None:
        super().__init__(f"celery-{version}", directory, HERE, {})
        self.name, self.observers = name, observers
        self.broker = f"{redis_server()}/{database}"
        redis.Redis.from_url(self.broker).flushdb()
        self.sender = Celery("shop", broker=self.broker, set_as_current=False)
        self.sender.conf.update(task_send_sent_event=True, task_routes={"shop.slow": {"queue": "slow"}})

    def watch(self, **changes: Any) -> None:
        """Have it watched."""
        watch(self.name, Watch(url=self.broker, **changes))

    def worker(self, name: str = "one", *options: str, settings: dict[str, Any], **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker that has these settings."""
        queues = () if "-Q" in options else ("-Q", "celery,slow")
        return self.celery_worker(
            "shop", f"{self.name}@{name}", *queues, *options, attached=False, **self.with_(settings), **changes
        )

    def with_(self, settings: dict[str, Any]) -> dict[str, str]:
        """Return the environment of a program that has these settings."""
        results = f"{redis_server()}/{RESULTS}"
        return {"SHOP_BROKER": self.broker, "SHOP_RESULTS": results, "SHOP_SETTINGS": json.dumps(settings)}

    def send(self, task: tuple[str, Sequence[Any]] = ADD, times: int = 1, **options: Any) -> None:
        """Send a task so many times."""
        for _ in range(times):
            self.sender.send_task(*task, **options)

    def row(self) -> Application:
        return Application.objects.get(name=self.name)

    def rules(self) -> list[str]:
        """Observe and record for a moment; return the rules that find something."""
        self.observers.run_once()
        record()
        return [finding.rule for finding in diagnosis_of(self.row()).findings]

    def is_named(self, rule: str, *others: str) -> None:
        """Wait until a rule is the first that finds something; only `others` may find something as well."""
        allowed = {rule, *others}
        eventually(
            lambda: (found := self.rules())[:1] == [rule] and set(found) <= allowed, but=lambda: f"{rule}: {self.condition()}"
        )

    def is_healthy(self, *passed: str) -> None:
        """Wait until no rule finds anything, and these have passed."""
        eventually(
            lambda: self.rules() == [] and {rule.id for rule in diagnosis_of(self.row()).passed} >= set(passed),
            but=self.condition,
        )  # fmt: skip

    def condition(self) -> str:
        """What is known of it, for a test that failed."""
        rows = list(
            Task.objects.filter(application=self.row())
            .order_by("-created_at")
            .values_list("text_id", "status", "worker", "position")[:9]
        )
        held = {beat.name: beat.held for beat in heartbeat.read_all(self.name)}
        return f"{self.name} has {self.rules()}\n{gather(self.row())}\n{rows}\n{held}\n{self.log[-3000:]}"

    def depth(self, queue: str) -> int:
        """Return how many messages its observer has counted in a queue."""
        return queue_state.read(self.name)[queue].depth or 0

    def sample(self, minutes: int) -> None:
        """Sample its queues as an engine does, as if that had been so many whole minutes ago, or one fewer."""
        QueueSample.objects.filter(minute__gte=timezone.now() - timedelta(minutes=minutes + 1)).delete()
        samples.take_others()
        now = timezone.now().replace(second=0, microsecond=0)
        for sample in QueueSample.objects.filter(minute__gte=now - timedelta(minutes=1)):
            for ago in {minutes, minutes - 1}:
                QueueSample.objects.update_or_create(
                    application=sample.application, queue=sample.queue, minute=now - timedelta(minutes=ago),
                    defaults={"depth": sample.depth, "unacknowledged": 0},
                )  # fmt: skip

    def knows_all(self) -> bool:
        """Whether all of its workers online have answered everything."""
        self.observers.run_once()
        beats = [beat for beat in heartbeat.read_all(self.name) if beat.online]
        return bool(beats) and all(beat.settings is not None and not beat.unknown for beat in beats)


Make = Callable[..., Patient]


@pytest.fixture
def patients(tmp_path: Path, server: redis.Redis) -> Iterator[Make]:
    stream.client().flushdb()
    observers = Observers()
    made: list[Patient] = []

    def make(name: str, **options: Any) -> Patient:
        made.append(Patient(name, 4 + len(made), tmp_path / name, observers, **options))
        return made[-1]

    yield make
    for patient in made:
        patient.kill()
    observers.stop()
    stream.client().flushdb()


def children_of(worker: subprocess.Popen[bytes]) -> list[int]:
    return [int(child) for child in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]


def test_one_worker_suffers_from_one_thing_after_the_other(patients: Make, server: redis.Redis) -> None:
    here = patients("shop")
    here.watch()
    first = here.worker("one", *ONE, settings=GOOD)
    eventually(here.knows_all, but=lambda: here.log[-3000:])
    here.send(times=3)
    here.is_healthy("events-off", "sent-events-off", "eviction", "unknown-task", "clock-skew", "no-persistence", "no-worker")
    _its_redis(here, server)
    here.send(queue="bulk")
    here.is_named("no-consumer")
    here.sender.control.add_consumer("bulk", reply=True, timeout=10, limit=1)
    here.is_healthy()
    here.send(("shop.renamed", ()))
    here.is_named("unknown-task")
    # It is named while it waits already: its failure has to be recorded before it can be taken back.
    eventually(lambda: here.rules() and DeadLetter.objects.all().delete()[0], but=here.condition)
    here.is_healthy()
    _its_queues(here)
    _its_pool_and_its_slots(here, first)
    here.send(countdown=900, times=12)
    here.is_named("eta-grows-prefetch")
    here.send(countdown=9000)
    here.is_named("visibility-timeout", "eta-grows-prefetch")
    _its_end(here, first)


def _its_redis(here: Patient, server: redis.Redis) -> None:
    server.config_set("maxmemory-policy", "allkeys-lru")
    here.is_named("eviction")
    server.config_set("maxmemory-policy", "noeviction")
    server.config_set("save", "")
    here.is_named("no-persistence")
    server.config_set("save", "3600 1")
    used: Any = server.info("memory")
    server.config_set("maxmemory", int(used["used_memory"] / 0.85))
    here.is_named("broker-memory")
    server.config_set("maxmemory", "0")
    here.is_healthy()


def _its_queues(here: Patient) -> None:
    store = redis.Redis.from_url(here.broker)
    here.send(queue="report")
    # Its sender was heard; somebody else then stores a report where the queue was.
    eventually(lambda: here.rules() and Task.objects.filter(queue="report").delete()[0], but=here.condition)
    store.delete("report")
    store.set("report", "no list of messages")
    here.is_named("queue-unreadable")
    store.delete("report")
    here.is_healthy()
    here.sample(6)
    here.send(("shop.slow", (0.5,)), times=300)
    eventually(lambda: here.rules() is not None and here.depth("slow") > 200, but=here.condition)
    here.sample(1)
    here.is_named("queue-grows")
    longest = here.depth("slow")
    here.sample(6)
    eventually(lambda: here.rules() is not None and here.depth("slow") < longest, but=here.condition)
    here.sample(1)
    here.is_named("long-backlog")
    store.delete("slow")
    Task.objects.filter(status="QUEUED").delete()
    QueueSample.objects.all().delete()
    here.is_healthy()
    eventually(lambda: here.rules() == [] and not Task.objects.filter(finished_at=None).exists(), but=here.condition)


def _its_pool_and_its_slots(here: Patient, worker: subprocess.Popen[bytes]) -> None:
    children = children_of(worker)
    for child in children:
        os.kill(child, signal.SIGSTOP)
    try:
        here.send()
        here.is_named("pool-stalled")
    finally:
        for child in children:
            os.kill(child, signal.SIGCONT)
    here.is_healthy()
    here.send(("shop.slow", (300,)), task_id="long")
    here.send(times=4)
    here.is_named("long-tasks-block")
    here.sender.control.revoke("long", terminate=True, signal="SIGKILL")
    here.is_healthy()


def _its_end(here: Patient, worker: subprocess.Popen[bytes]) -> None:
    here.worker("two", *ONE, "-Q", "other", settings=GOOD)
    eventually(lambda: here.knows_all() and len(heartbeat.read_all(here.name)) == 2, but=lambda: here.log[-3000:])
    here.send(("shop.slow", (300,)), task_id="lost")
    eventually(lambda: here.rules() and Task.objects.filter(text_id="lost", status="STARTED").exists())
    # What waits for its ETA there goes to another worker once Redis' visibility timeout is over.
    Task.objects.filter(not_before__isnull=False).delete()
    os.killpg(worker.pid, signal.SIGKILL)
    here.is_named("lost-early-acknowledged", "worker-silent")
    Task.objects.all().delete()
    here.is_named("worker-silent")
    here.stop()
    here.is_named("no-worker", "worker-silent")
    Application.objects.filter(name=here.name).update(broker="")
    here.is_named("not-heard")


def test_each_of_these_applications_suffers_from_one_setting(patients: Make) -> None:
    slow = ("shop.slow", (2,))
    ill: list[tuple[Patient, str]] = []

    def add(rule: str, settings: dict[str, Any] | None = None, *options: str, **changes: str) -> Patient:
        here = patients(rule)
        here.watch(**({"enables_events": False} if rule == "events-off" else {}))
        here.worker("one", *(options or ONE), settings={**GOOD, **(settings or {})}, **changes)
        ill.append((here, rule))
        return here

    add("unbounded-prefetch", {"worker_prefetch_multiplier": 0}, "-c", "1")
    add("results-expire", {"result_expires": 1})
    add("no-time-limit", {"task_time_limit": None})
    add("sent-events-off", {"task_send_sent_event": False}).sender.conf.task_send_sent_event = False
    add("clock-skew", CLOCK_AHEAD="60", PYTHONPATH=str(HERE / "wrong_clock"))
    add("priorities-without-steps")
    limited = {"task_annotations": {"shop.add": {"rate_limit": "1/m"}}}
    add("rate-limit-fills-prefetch", limited, "-c", "2", "--prefetch-multiplier", "1")
    add("events-off")
    for here, rule in ill:
        eventually(here.knows_all, within=60, but=lambda here=here: f"{here.name}\n{here.log[-3000:]}")  # type: ignore[misc]
        if rule == "priorities-without-steps":
            here.send(("shop.slow", (300,)), priority=0)
            here.send(("shop.slow", (300,)), priority=1)
        elif rule == "rate-limit-fills-prefetch":
            here.send(times=6)
        elif rule != "events-off":
            here.send(slow)
    for here, rule in ill:
        if rule == "events-off":
            here.send(times=5)
        here.is_named(rule)


def test_beat_that_does_not_run_or_sends_less_or_runs_twice(patients: Make, tmp_path: Path) -> None:
    here = patients("shop")
    here.watch()
    adding = {"adding": {"task": "shop.add", "schedule": 1.0, "args": [1, 2]}}
    settings = {**GOOD, "beat_schedule": {**adding, "summing": {"task": "shop.total", "schedule": 1.0, "args": [[1, 2]]}}}
    here.worker("one", "-c", "2", settings=settings)
    eventually(here.knows_all, but=lambda: here.log[-3000:])
    # A task of its sender tells that senders tell.
    here.send(("shop.process", ()))
    eventually(lambda: here.rules() == [])
    Application.objects.filter(name="shop").update(first_heard_at=timezone.now() - timedelta(hours=1))
    here.is_named("beat-dead")
    for name, rule in (("first", "schedule-missed"), ("second", "beat-doubled")):
        beat = ("-m", "celery", "-A", "shop", "beat", "-s", str(tmp_path / f"beat-{name}"), "--pidfile", "")
        here.start(f"beat-{name}", *beat, attached=False, **here.with_({**GOOD, "beat_schedule": adding}))
        here.is_named(rule, "schedule-missed")


def test_workers_of_different_releases(patients: Make) -> None:
    newer, older = patients("shop"), patients("older", version="5.3")
    newer.watch()
    older.broker = newer.broker
    newer.worker("one", *ONE, settings=GOOD)
    older.worker("two", *ONE, settings=GOOD)
    newer.is_named("mixed-versions")


def test_a_broker_that_cannot_be_reached(patients: Make) -> None:
    here = patients("shop")
    here.broker = "redis://127.0.0.1:1/0"
    here.watch()
    here.is_named("not-heard")
    reason = "nothing listens at its host and port"
    eventually(lambda: here.rules() and reason in diagnosis_of(here.row()).findings[0].sentence)
