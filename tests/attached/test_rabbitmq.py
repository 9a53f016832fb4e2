"""An application whose broker is RabbitMQ behaves the same with Zenith and without."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tasks_app.control import attached_queues as queues
from tasks_app.control import workers as control
from tasks_app.models import Application, Task
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.attached.test_behaviours import assert_same_and_recorded, both
from tests.attached.test_diagnosis import is_named, send, set_up
from tests.rabbitmq import RabbitMQ, running
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire import commands, heartbeat
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import delivery_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


#: What expires before its worker takes it is dropped by RabbitMQ itself, so that nobody hears of it.
DROPPED = ("expired",)


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with running(tmp_path_factory.mktemp("rabbitmq") / "node") as server:
        yield server


def test_an_attached_application_on_rabbitmq_behaves_as_one_that_is_not(rabbitmq: RabbitMQ, shop: Callable[[str], Shop]) -> None:
    shops = (shop("5.7"), shop("5.7"))
    for here, host in zip(shops, rabbitmq.hosts, strict=True):
        here.broker = rabbitmq.url(host)
    assert_same_and_recorded(*both(shops, ("-c", "4"), DROPPED), shops[0])


def test_its_workers_obey_zenith_and_tell_what_waits(rabbitmq: RabbitMQ, shop: Callable[[str], Shop]) -> None:
    Application.objects.create(name="shop", kind="attached")
    here = shop("5.7")
    here.broker = rabbitmq.url(rabbitmq.hosts[0])
    process = here.worker("shop@one", "-c", "1", "--prefetch-multiplier", "1", "-Q", "depths,empty")

    def beat() -> WorkerBeat | None:
        return next((found for found in heartbeat.read_all("shop") if found.catalogue and found.online), None)

    eventually(beat, but=lambda: here.log[-4000:])
    assert control.ping("shop@one", "shop").answer == "pong"
    control.add_queue("shop@one", "third", "shop")
    for number in range(5):
        options = {"queue": "depths", "time_limit": 600}
        commands.hand_over("shop", [{"id": f"{number}", "task": "shop.slow", "args": [60], "kwargs": {}, "options": options}])
    depths = eventually(
        lambda: (one := beat()) and (found := dict(one.depths)).get("depths", 0) >= 3 and "third" in found and found,
        but=lambda: f"{beat()}\n{here.log[-4000:]}",
    )
    assert (depths["empty"], depths["third"]) == (0, 0)
    assert depths["depths"] < 5, "what a worker holds waits no more"
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["classic", "quorum"] if IS_LONG else ["quorum"])
def test_its_queues_are_paused_and_purged(kind: str, rabbitmq: RabbitMQ, shop: Callable[[str], Shop]) -> None:
    application = Application.objects.create(name="shop", kind="attached")
    queue = f"purged-{kind}"
    queues.pause(application, queue, by="ada")
    here = shop("5.7")
    here.broker = rabbitmq.url(rabbitmq.hosts[1])
    settings = json.dumps({"task_default_queue": queue, "task_default_queue_type": kind, "task_routes": {}})
    here.worker("shop@one", "-c", "1", "-Q", f"{queue},other", SHOP_SETTINGS=settings)
    eventually(
        lambda: any(found.withheld == (queue,) and found.catalogue for found in heartbeat.read_all("shop")),
        but=lambda: f"{heartbeat.read_all('shop')}\n{here.log[-4000:]}",
    )
    ids = [f"{kind}-{number}" for number in range(120)]
    options = {"queue": queue}
    commands.hand_over("shop", [{"id": id_, "task": "shop.add", "args": [1, 2], "kwargs": {}, "options": options} for id_ in ids])
    rows = Task.objects.filter(text_id__in=ids)
    eventually(lambda: record() and rows.filter(status="QUEUED").count() == 120, but=lambda: here.log[-4000:])
    purged = queues.purge(application, queue, by="ada")
    assert (purged.removed, purged.told, purged.remaining, purged.error) == (120, 120, 0, ""), here.log[-4000:]
    assert record()
    assert rows.filter(status="REVOKED").count() == 120
    queues.resume(application, queue)
    commands.hand_over("shop", [{"id": kind, "task": "shop.add", "args": [1, 2], "kwargs": {}, "options": options}])
    eventually(
        lambda: record() and Task.objects.filter(text_id=kind, status="SUCCESS").exists(),
        but=lambda: f"{heartbeat.read_all('shop')}\n{here.log[-4000:]}",
    )


@pytest.mark.parametrize("kind", ["classic", "quorum"] if IS_LONG else ["quorum"])
def test_what_a_killed_worker_held_runs_again_elsewhere_and_its_row_says_so(
    kind: str, rabbitmq: RabbitMQ, shop: Callable[[str], Shop]
) -> None:
    here = shop("5.7")
    here.broker = rabbitmq.url(rabbitmq.hosts[0])
    changes = {
        "SHOP_SETTINGS": json.dumps({"task_default_queue": kind, "task_default_queue_type": kind}), "ZENITH_GUARD": "recovery",
    }  # fmt: skip
    options = ("-c", "1", "-Q", kind)
    first = here.worker("shop@one", *options, **changes)
    sent = here.run("sends.py", "shop.stays_once", **changes)
    key = key_of(sent, "shop")
    eventually(lambda: record() and Task.objects.filter(pk=key, status="STARTED").exists(), but=lambda: here.log[-4000:])
    os.killpg(first.pid, signal.SIGKILL)
    here.worker("shop@two", *options, **changes)
    eventually(lambda: record() and Task.objects.filter(pk=key, status="SUCCESS").exists(), but=lambda: here.log[-4000:])
    row = Task.objects.get(pk=key)
    assert (row.worker, row.attempt, delivery_of(row.position), row.queue) == ("shop@two", 1, 1, kind)
    assert here.read("LRANGE", "shop:runs", "0", "-1") == [sent.encode()] * 2
    assert here.log.count("The guard `recovery` does nothing for this worker: the broker itself delivers again") == 2


def test_its_queues_are_diagnosed(rabbitmq: RabbitMQ, shop: Callable[[str], Shop]) -> None:
    here = shop("5.7")
    here.broker = rabbitmq.url(rabbitmq.hosts[0])
    changes = set_up(task_default_queue="ranked")
    here.worker("shop@one", "-c", "1", "-Q", "ranked", **changes)
    send(here, *[["shop.add", [1, 2], {"priority": priority, "queue": "ranked"}] for priority in (1, 5)], **changes)
    is_named(here, "priorities-without-steps", "classic-queues")
