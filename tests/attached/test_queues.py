"""Zenith pauses and purges the queues of an attached application, whose broker it never sees."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tasks_app.control import attached_queues as control
from tasks_app.maintenance import application_users
from tasks_app.models import Application, Task
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire import commands, heartbeat
from zenith_worker.wire.client import client
from zenith_worker.wire.heartbeat import WorkerBeat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


@pytest.fixture
def application() -> Iterator[Application]:
    """The application, whose Redis user can use its own keys only."""
    row = Application.objects.create(name="shop", kind="attached")
    application_users.grant("shop")
    yield row
    client().execute_command("ACL", "DELUSER", application_users.username("shop"))


def beat(name: str) -> WorkerBeat | None:
    return next((found for found in heartbeat.read_all("shop") if found.name == name and found.online and found.catalogue), None)


def send(*ids: str, queue: str = "slow") -> None:
    options = {"queue": queue}
    commands.hand_over("shop", [{"id": id_, "task": "shop.add", "args": [1, 2], "kwargs": {}, "options": options} for id_ in ids])


def status(id_: str) -> str:
    record()
    return str(Task.objects.filter(text_id=id_).values_list("status", flat=True).first())


#: The oldest Celery that is supported as well, and a pool without processes.
@pytest.mark.parametrize(("version", "pool"), [("5.7", "prefork"), ("5.3", "gevent" if IS_LONG else "threads")])
def test_a_paused_queue_is_consumed_by_no_worker_and_purged_by_one(
    version: str, pool: str, shop: Callable[[str], Shop], application: Application
) -> None:
    here, url = shop(version), application_users.url("shop")

    def start(name: str) -> None:
        process = here.worker(name, "-c", "1", "--pool", pool, ZENITH_URL=url)
        eventually(lambda: beat(name), but=lambda: f"{process.poll()}\n{here.log[-4000:]}")

    def consume(*queues: str) -> None:
        """Wait until each worker consumes these queues, and no others."""
        eventually(
            lambda: all(found.queues == queues for found in heartbeat.read_all("shop")),
            but=lambda: f"{heartbeat.read_all('shop')}\n{here.log[-4000:]}",
        )

    start("shop@one")
    assert control.pause(application, "slow", by="ada")
    consume("celery")
    start("shop@two")
    consume("celery")
    assert [found.withheld for found in heartbeat.read_all("shop")] == [("slow",)] * 2
    send("a", "b", "c")
    send("other", queue="celery")
    eventually(lambda: status("other") == "SUCCESS", but=lambda: here.log[-4000:])
    eventually(
        lambda: control.count_waiting(application, "slow").messages == 3,
        but=lambda: f"{heartbeat.read_all('shop')}\n{here.log[-4000:]}",
    )
    purged = control.purge(application, "slow", by="ada")
    assert (purged.removed, purged.told, purged.remaining, purged.error) == (3, 3, 0, "")
    assert {status(id_) for id_ in "abc"} == {"REVOKED"}

    send("later")
    eventually(lambda: status("later") == "QUEUED", but=lambda: here.log[-4000:])
    assert control.resume(application, "slow")
    consume("celery", "slow")
    eventually(lambda: status("later") == "SUCCESS", but=lambda: here.log[-4000:])
    assert b"a" not in here.read("LRANGE", "shop:runs", "0", "-1")
    assert "NoPermission" not in here.log
    for process in here._processes:
        if pool != "prefork":
            os.killpg(process.pid, signal.SIGKILL)
