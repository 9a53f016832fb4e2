"""The fault suite's world with another application's workers in the place of Zenith's own: attached, with all guards.

The application has a Redis of its own, for its broker and its results, and a user of its own in Zenith's Redis. Its tasks are
dispatched through Zenith, and sent by a program of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import redis

from tests.faults.accounting import named
from tests.faults.harness import MODULE, World, answered, kill_redis
from tests.processes import REPOSITORY, Process
from tests.waiting import eventually
from zenith_site.embedded import EmbeddedServers
from zenith_worker.wire.keys import recovery_keys

NAME = "shop"
GUARDS = "claims,recovery,retries"
#: The application's own: the prefix of its keys in its Redis, its queue, and how it says so.
PREFIX, QUEUE = "shop:", "orders"
SETTINGS = {
    "task_default_queue": QUEUE,
    "broker_transport_options": {"global_keyprefix": PREFIX},
    "result_backend_transport_options": {"global_keyprefix": PREFIX},
}
#: Databases of the application's Redis.
BROKER, RESULTS = 0, 1
#: Its broker's keys that outlive a case: what is bound to which exchange, which each process declares once, and who lives.
LASTING = (f"{PREFIX}_kombu.binding.", f"{PREFIX}{recovery_keys(NAME).alive}", f"{PREFIX}{recovery_keys(NAME).lease}")


class AttachedWorld(World):
    """The servers of the suite, a Redis of the application's own, and its processes."""

    application = NAME
    asked: Mapping[str, str] = {"application": NAME}
    app = "tests.faults.shop"
    worker_options: Sequence[str] = ("-I", "zenith_worker.auto")
    # Longer than a heartbeat lasts. Plain Celery's retries are late by as much as the clocks of two workers differ.
    clock_off = 30

    def __init__(self, directory: Path, rng: random.Random, logs: Path | None = None) -> None:
        super().__init__(directory, rng, logs)
        self.own = EmbeddedServers(directory / "shop", postgres=False)
        self._sender: Process | None = None
        self._zenith_url = ""

    # --- Servers ---

    def open(self) -> None:
        """Start the servers, and give the application its user in Zenith's Redis."""
        super().open()
        self.own.start()
        # What its broker answered it keeps: what a broker forgets is between it and its users.
        self.broker.config_set("appendfsync", "always")
        command = [sys.executable, "manage.py", "applications", "add", NAME, "--json"]
        added = subprocess.run(command, cwd=REPOSITORY, env=self._environment(), check=True, capture_output=True, timeout=60)
        self._zenith_url = json.loads(added.stdout)["url"]

    def close(self) -> None:
        """End everything and remove it."""
        self.own.stop()
        super().close()

    @cached_property
    def broker(self) -> redis.Redis:
        """A client of the harness's own for the application's broker."""
        return redis.Redis.from_url(self._own_url(BROKER), socket_timeout=10)

    @cached_property
    def results(self) -> redis.Redis:
        """The same for its results."""
        return redis.Redis.from_url(self._own_url(RESULTS), socket_timeout=10)

    def kill_broker(self) -> None:
        """End the application's Redis without a farewell."""
        kill_redis(self.own)

    def restart_broker(self, away: float) -> None:
        """Restart the application's Redis, which is away for so many seconds."""
        self.own.stop_redis()
        time.sleep(away)
        self.own.start_redis()

    def kill_servers(self) -> None:
        """End every server as a power cut would, that of the application as well."""
        super().kill_servers()
        self.kill_broker()

    def start_servers(self) -> None:
        """Start them again."""
        super().start_servers()
        self.own.start_redis()

    def deliver_again(self, key: str) -> None:
        """Put a message back into its queue that a worker holds, as kombu does after the visibility timeout."""
        (id_,) = self.query("SELECT text_id FROM tasks_app_task WHERE id = %s", key)[0]
        for tag, held in self.broker.hgetall(f"{PREFIX}unacked").items():
            message, _, queue = json.loads(held)
            if message["headers"]["id"] != id_:
                continue
            message["headers"]["redelivered"] = message["properties"]["delivery_info"]["redelivered"] = True
            with self.broker.pipeline() as pipe:
                pipe.hdel(f"{PREFIX}unacked", tag).zrem(f"{PREFIX}unacked_index", tag)
                pipe.rpush(PREFIX + queue, json.dumps(message)).execute()
            return
        raise AssertionError(f"no worker holds {id_}")

    def cut_connections(self) -> None:
        """Break every connection to either Redis but the harness's own."""
        super().cut_connections()
        for kind in ("normal", "pubsub"):
            self.broker.client_kill_filter(_type=kind, skipme=True)

    def _own_url(self, database: int) -> str:
        return f"{self.own.addresses.redis_url.rpartition('/')[0]}/{database}"

    # --- Processes ---

    def begin(self, case: str, *, workers: int = 2, engines: int = 1) -> None:
        """Make everything ready for a case: no data, and that many undamaged processes."""
        super().begin(case, workers=workers, engines=engines)
        self.account.sent_by_workers = True
        # The heartbeats of those that were there before were removed with everything else.
        self.await_ready(*self.workers)

    def await_ready(self, *processes: Process) -> None:
        """Wait until workers beat and engines read; where there are both, until Zenith knows the application's tasks."""
        super().await_ready(*processes)
        if self.engines and any("@" in process.name for process in processes):
            known = "SELECT FROM tasks_app_catalogue WHERE tasks ? 'faults.short'"
            eventually(lambda: self.query(known), within=40, but=self.news)

    def _worker_environment(self, modules: str, **changes: str) -> dict[str, str]:
        return self._own_environment(SHOP_MODULES=modules, ZENITH_GUARD=os.environ.get("FAULTS_GUARD", GUARDS), **changes)

    def _own_environment(self, **changes: str) -> dict[str, str]:
        """Return the environment of the application's processes: of Zenith they know the user of its Redis."""
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "NOTES_URL", "NOTES_APPLICATION", "PYTHONPATH")
        return {
            **{name: value for name, value in self._environment().items() if name in kept},
            "SHOP_BROKER": self._own_url(BROKER), "SHOP_RESULTS": self._own_url(RESULTS),
            "SHOP_SETTINGS": json.dumps(SETTINGS), "ZENITH_URL": self._zenith_url, "ZENITH_APPLICATION": NAME,
            # Read at an interpreter's start only, so that none is forked from one that has Zenith's libraries (tests/warm.py).
            "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1",
            **changes,
        }  # fmt: skip

    def _processes(self) -> Iterator[Process]:
        yield from super()._processes()
        if self._sender:
            yield self._sender

    def _wipe(self) -> None:
        super()._wipe()
        self.results.flushdb()
        if left := [key for key in self.broker.scan_iter(count=1000) if not key.startswith(tuple(map(str.encode, LASTING)))]:
            self.broker.delete(*left)

    # --- Load ---

    def ask_sender(self, verb: str, **request: Any) -> Any:
        """Have the application's own program send tasks, and return its answer."""
        with self._answering:
            if self._sender is None or not self._sender.runs:
                name = f"sender{next(self._numbers)}"
                environment = self._own_environment(SHOP_MODULES=MODULE)
                self._sender = Process(name, ["-m", self.app], self.logs / f"{name}.log", environment, pipes=True)
            return answered(self._sender, {"verb": verb, **request})

    def dispatch(self, task: str, count: int = 1, **asked: Any) -> list[str]:
        """Dispatch tasks; note and return their keys. How often one is retried is for the application to say."""
        asked.pop("max_retries", None)
        return super().dispatch(task, count, **asked)

    # --- The end ---

    def left(self) -> dict[str, int]:
        """Return what has not been read or acknowledged, by what it is."""
        queues = (QUEUE, *(f"{QUEUE}\x06\x16{step}" for step in (3, 6, 9)))
        return {
            **self._entries(),
            "messages in the queue": sum(self.broker.llen(PREFIX + queue) for queue in queues),
            "unacknowledged messages": self.broker.hlen(f"{PREFIX}unacked"),
            "unacknowledged messages by time": self.broker.zcard(f"{PREFIX}unacked_index"),
            "messages with an owner": self.broker.hlen(PREFIX + recovery_keys(NAME).taken),
        }

    def _is_over(self) -> bool:
        # A sender reports what it sent a moment later, when its tasks may be over.
        return super()._is_over() and not time.sleep(0.1) and super()._is_over()

    def problems(self, *, reports_lost: bool = False, wrong_clocks: Sequence[str] = ()) -> list[str]:
        """Return what does not hold: what the application's callers are told is compared as well."""
        found = super().problems(reports_lost=reports_lost, wrong_clocks=wrong_clocks)
        return [*found, *self._results_that_differ()]

    def _results_that_differ(self) -> Iterator[str]:
        """Each task that ended has a result of the same status, with the value that Zenith shows, where its caller looks."""
        rows = self.query(
            """SELECT task.text_id, task.name, task.status, result.result FROM tasks_app_task AS task
            LEFT JOIN django_celery_results_taskresult AS result ON result.task_id = task.id::text
            WHERE task.status IN ('SUCCESS', 'FAILURE', 'REVOKED')"""
        )
        stored = self.results.mget([f"{PREFIX}celery-task-meta-{id_}" for id_, *_ in rows]) if rows else []
        missing, other = [], []
        for (id_, name, status, result), text in zip(rows, stored, strict=True):
            meta = json.loads(text) if text else None
            if meta is None:
                missing.append((id_, name, status))
            elif meta["status"] != status or (status == "SUCCESS" and meta["result"] != json.loads(result)):
                other.append((id_, name, status, meta["status"], result, meta["result"]))
        yield from named("has no result where its caller looks", missing)
        yield from named("has another result where its caller looks", other)

    def _unacknowledged(self) -> list[str]:
        held = self.broker.hgetall(f"{PREFIX}unacked")
        return [f"{tag.decode()}: {json.loads(body)[0]['headers']['id']}" for tag, body in held.items()]
