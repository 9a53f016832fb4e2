"""Somebody's watched application for tests: what its workers tell everybody, on the test's own Redis."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from django.utils import timezone

from tasks_app.models import Application, Task
from tasks_app.recording.recorder import Recorder
from tasks_app.watching.applications import Watch, watch
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import broker_of
from tasks_app.watching.observer import Observer
from tests.waiting import eventually
from zenith_worker.wire import stream
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have observers make short rounds; and empty Redis, since what they wrote is not rolled back."""
    monkeypatch.setattr("tasks_app.watching.asking.ROUND", 0.2)
    monkeypatch.setattr("tasks_app.watching.observer.BLOCK", 0.2)
    monkeypatch.setattr("tasks_app.watching.observer.TOLD_WITHIN", 0.2)
    monkeypatch.setattr("tasks_app.watching.inspection.TIMEOUT", 0.3)
    redis_client().flushdb()


def broker_url() -> str:
    """Return the URL of a database of the test's Redis that nobody else uses."""
    url = os.environ["REDIS_URL"]
    return f"{url[: -len(urlsplit(url).path)]}/13"


class Company:
    """Somebody's broker, and what their workers tell everybody."""

    def __init__(self) -> None:
        self.url = broker_url()
        self.redis = redis.Redis.from_url(self.url)
        self.redis.flushdb()
        self.app = Celery("shop", broker=self.url, set_as_current=False)

    def tell(self, *events: dict[str, Any], worker: str = "shop@one") -> None:
        """Tell events as a worker does."""
        with self.app.connection_for_write() as broker, self.app.events.Dispatcher(broker, hostname=worker) as dispatcher:
            for event in events:
                dispatcher.send(**event)

    def publish(self, body: Any, **options: Any) -> None:
        """Tell whatever it is."""
        with self.app.connection_for_write() as broker, self.app.events.Dispatcher(broker) as dispatcher:
            producer = dispatcher.producer
            exchange = dispatcher.exchange
            producer.publish(body, exchange=exchange.name, routing_key="task.odd", declare=[exchange], **options)


@contextmanager
def observing(company: Company) -> Iterator[Observer]:
    """Observe it under the name `shop`."""
    row, _ = watch("shop", Watch(url=company.url))
    here = Observer(Watched(row.pk, "shop", broker_of(row)))
    here.start()
    eventually(lambda: here.state.listens, but=lambda: here.state.reason)
    yield here
    here.stop()


def record() -> bool:
    """Record what there is; for `eventually`, always true."""
    stream.ensure_group()
    recorder = Recorder(threading.Event())
    while recorder.step(block=0.02):
        pass
    return True


def one_task(id_: str) -> list[dict[str, Any]]:
    """Return the events of a task that succeeds."""
    return [
        {
            "type": "task-received",
            "uuid": id_,
            "name": "shop.pay",
            "args": "(1,)",
            "kwargs": "{'token': 'hunter2'}",
            "retries": 0,
        },
        {"type": "task-started", "uuid": id_},
        {"type": "task-succeeded", "uuid": id_, "result": "'paid'", "runtime": 0.5},
    ]


def task_of(row: Application, id_: str, **values: Any) -> Task:
    """Return a new row of one of its tasks."""
    moment = timezone.now()
    values = {"finished_at": moment, **values} if values.get("status") in ("SUCCESS", "FAILURE") else values
    return Task.objects.create(
        id=key_of(id_, row.name), text_id=id_, application=row, name="shop.pay", created_at=moment, **values
    )
