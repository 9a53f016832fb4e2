"""Zenith pauses and purges the queues of an attached application, whose broker it never sees."""

from __future__ import annotations

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


def beat() -> WorkerBeat | None:
    return next((found for found in heartbeat.read_all("shop") if found.online and found.catalogue), None)


def send(*ids: str, queue: str = "slow") -> None:
    options = {"queue": queue}
    commands.hand_over("shop", [{"id": id_, "task": "shop.add", "args": [1, 2], "kwargs": {}, "options": options} for id_ in ids])


def status(id_: str) -> str:
    record()
    return str(Task.objects.filter(text_id=id_).values_list("status", flat=True).first())


#: The oldest Celery that is supported as well, and a pool without processes.
@pytest.mark.parametrize(("version", "pool"), [("5.7", "prefork"), ("5.3", "gevent" if IS_LONG else "threads")])
def test_a_paused_queue_is_not_consumed_and_is_purged(
    version: str, pool: str, shop: Callable[[str], Shop], application: Application
) -> None:
    here = shop(version)

    def consumes(*queues: str) -> None:
        """Wait until the worker consumes these queues, and no others."""
        eventually(
            lambda: (found := beat()) is not None and found.queues == queues,
            but=lambda: f"{heartbeat.read_all('shop')}\n{here.log[-4000:]}",
        )

    assert control.pause(application, "slow", by="ada")
    here.worker("shop@one", "-c", "1", "--pool", pool, ZENITH_URL=application_users.url("shop"))
    consumes("celery")
    send("a", "b", "c")
    send("other", queue="celery")
    eventually(lambda: status("other") == "SUCCESS", but=lambda: here.log[-4000:])
    assert {status(id_) for id_ in "abc"} == {"QUEUED"}
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
    consumes("celery", "slow")
    eventually(lambda: status("later") == "SUCCESS", but=lambda: here.log[-4000:])
    assert control.pause(application, "celery", by="ada")
    consumes("slow")
    assert not {b"a", b"b", b"c"} & {*here.read("LRANGE", "shop:runs", "0", "-1")}
    assert "NoPermission" not in here.log
