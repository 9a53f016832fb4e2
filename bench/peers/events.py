"""Tell what 20 busy workers tell everybody, through Celery's own event dispatchers:

    python -m bench.peers.events BROKER COUNT SEED [--pace BYTES]

Most workers gather events as prefork workers do, until the next turn of their event loop or until 24 are there; the others, and
whoever sends tasks, tell each at once. The tasks are mixed: some fail, some are retried, some send others.

With `--pace`, it waits while Redis holds more than so many bytes for one of those who listen. It prints what was told, as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import redis
from celery import Celery
from celery.events import EventDispatcher

WORKERS, GATHERING = 20, 14
#: Tasks that are under way at once.
UNDER_WAY = 400
#: How likely the event loop of a gathering worker turns after an event.
TURN = 0.3
#: Of all tasks, how many fail, and how many fail once and run again.
FAILING, RETRIED, CHILDREN = 0.04, 0.08, 0.05
HEARTBEAT_EVERY = 2000
LOOK_EVERY = 500
NAMES = [f"shop.{area}.{verb}" for area in ("orders", "mail", "stock") for verb in ("create", "check", "send", "sync")]
END = "bench.end"
_FRAMES = "".join(f'  File "/srv/shop/{name}.py", line 7, in {name}\n    return {name}(order)\n' for name in "abcdef")
_TRACEBACK = f"Traceback (most recent call last):\n{_FRAMES}%s\n"


@dataclass
class Told:
    """What was told. `of_tasks`: events of tasks; `steps`: those that are a step; `last`: id of the task that ended last."""

    events: int = 0
    of_tasks: int = 0
    tasks: int = 0
    steps: int = 0
    last: str = ""
    ends: Counter[str] = field(default_factory=Counter)


@dataclass
class Task:
    """A task under way."""

    id: str
    name: str
    args: str
    kwargs: str
    parent: str | None
    fails: bool
    retries: int
    attempt: int = 0
    step: str = "send"
    worker: int = 0


class Application:
    """Workers and senders of one application, and their tasks."""

    def __init__(self, broker: str, rng: random.Random, pace: int) -> None:
        app = Celery("shop", broker=broker, set_as_current=False)
        app.conf.broker_pool_limit = None
        self._connection = app.connection_for_write()
        self._rng, self._pace, self._redis = rng, pace, redis.Redis.from_url(broker)
        self._workers = [self._dispatcher(app, f"worker-{number}@shop", number < GATHERING) for number in range(WORKERS)]
        self._sender = self._dispatcher(app, "web@shop", gathers=False)
        # One producer, so that messages can be published many at a time and stay in their order.
        self._producer = self._sender.producer
        for worker in self._workers:
            worker.producer = self._producer
        self.told = Told()

    def run(self, count: int) -> None:
        """Tell about so many events."""
        with self._producer.batch(100):
            self._tell_all(count)

    def _tell_all(self, count: int) -> None:
        for worker in self._workers:
            self._tell(worker, "worker-online", sw_ident="py-celery", sw_ver="5.5.3", sw_sys="Linux", freq=2.0)
        under_way = [self._task() for _ in range(min(UNDER_WAY, count // 20 + 1))]
        while self.told.events < count:
            index = self._rng.randrange(len(under_way))
            if not self._advance(under_way[index]):
                parent = under_way[index].id if self._rng.random() < CHILDREN else None
                under_way[index] = self._task(parent)
            self._upkeep()
        for task in under_way:
            while self._advance(task):
                pass
        self._end()

    def _dispatcher(self, app: Celery, name: str, gathers: bool) -> EventDispatcher:
        group = frozenset({"task"}) if gathers else frozenset()
        return EventDispatcher(
            channel=self._connection.default_channel, hostname=name, app=app, buffer_group=group, buffer_while_offline=False
        )

    def _tell(self, dispatcher: EventDispatcher, event: str, **members: Any) -> None:
        dispatcher.send(event, **members)
        if dispatcher.buffer_group and self._rng.random() < TURN:
            dispatcher.flush()
        self.told.events += 1
        self.told.of_tasks += event.startswith("task-")

    def _task(self, parent: str | None = None) -> Task:
        rng = self._rng
        number = rng.randrange(10**6)
        args, kwargs = rng.choice(
            [
                ("()", "{}"), (f"({number},)", "{}"), (f"({number}, 'EUR {number / 100}')", f"{{'customer': {number % 997}}}"),
                ("('Thank you for your order, it is on its way.',)", f"{{'order': {number}, 'lang': 'en', 'copies': [1, 2]}}"),
                (f"(<Order: {number}>,)", "{}"),
            ]
        )  # fmt: skip
        self.told.tasks += 1
        return Task(
            str(uuid.UUID(int=rng.getrandbits(128), version=4)), rng.choice(NAMES), args, kwargs, parent,
            fails=rng.random() < FAILING, retries=int(rng.random() < RETRIED), worker=rng.randrange(WORKERS),
        )  # fmt: skip

    def _advance(self, task: Task) -> bool:
        """Tell the next step of a task; return whether it goes on."""
        worker = self._workers[task.worker]
        origin = {
            "uuid": task.id, "name": task.name, "args": task.args, "kwargs": task.kwargs, "root_id": task.id,
            "parent_id": task.parent, "retries": task.attempt, "eta": None, "expires": None,
        }  # fmt: skip
        if task.step == "send":
            self._tell(self._sender, "task-sent", **origin, queue="celery", exchange="", routing_key="celery")
            # Of what a retry sends, its worker tells as well.
            self.told.steps += task.attempt == 0
            task.step = "receive"
            return True
        self.told.steps += 1
        if task.step == "receive":
            self._tell(worker, "task-received", **origin)
            task.step = "start"
        elif task.step == "start":
            self._tell(worker, "task-started", uuid=task.id)
            task.step = "end"
        elif task.attempt < task.retries:
            error = "ConnectionError('the payment service does not answer')"
            self._tell(worker, "task-retried", uuid=task.id, exception=error, traceback=_TRACEBACK % _plain(error))
            task.attempt, task.step = task.attempt + 1, "send"
            self.told.ends["RETRY"] += 1
        else:
            self._finish(task, worker)
            return False
        return True

    def _finish(self, task: Task, worker: EventDispatcher) -> None:
        if task.fails:
            error = f"ValueError('no such order: {self._rng.randrange(10**6)}')"
            self._tell(worker, "task-failed", uuid=task.id, exception=error, traceback=_TRACEBACK % _plain(error))
        else:
            result = self._rng.choice(["None", "True", "{'sent': 3, 'skipped': []}"])
            self._tell(worker, "task-succeeded", uuid=task.id, result=result, runtime=self._rng.random())
        self.told.ends["FAILURE" if task.fails else "SUCCESS"] += 1

    def _upkeep(self) -> None:
        if not self.told.events % HEARTBEAT_EVERY:
            for worker in self._workers:
                self._tell(worker, "worker-heartbeat", freq=2.0, active=4, processed=self.told.events, sw_ver="5.5.3")
        if self._pace and not self.told.events % LOOK_EVERY:
            while any(int(client["omem"]) > self._pace for client in self._redis.client_list(_type="pubsub")):
                time.sleep(0.01)

    def _end(self) -> None:
        """Tell of one more task, after everything else."""
        for worker in self._workers:
            worker.flush()
        task = self._task()
        task.name, task.fails, task.retries, task.worker = END, False, 0, WORKERS - 1
        while self._advance(task):
            pass
        self.told.last = task.id


def _plain(error: str) -> str:
    """Return `Type('message')` as the last line of a traceback has it."""
    type_, _, message = error.removesuffix("')").partition("('")
    return f"{type_}: {message}"


def main() -> None:
    """Tell, and print what was told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("broker")
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--pace", type=int, default=0)
    options = parser.parse_args()
    application = Application(options.broker, random.Random(options.seed), options.pace)
    application.run(options.count)
    print(json.dumps(vars(application.told)))


if __name__ == "__main__":
    main()
