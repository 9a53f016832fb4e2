"""An attached application does what Zenith asks of it, with a Redis user of its own, in every pool."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tasks_app.maintenance import application_users
from tests.attached.conftest import Shop
from tests.waiting import eventually
from zenith_worker.wire import catalogues, commands, heartbeat
from zenith_worker.wire.client import client
from zenith_worker.wire.commands import Kind
from zenith_worker.wire.events import Event, decode
from zenith_worker.wire.keys import application_keys

pytestmark = pytest.mark.processes

KEYS = application_keys("shop")


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of Zenith's Redis for shop, whose user can use its own keys only."""
    application_users.grant("shop")
    yield application_users.url("shop")
    client().execute_command("ACL", "DELUSER", application_users.username("shop"))


def send(name: str, *args: object, **options: object) -> str:
    """Ask for a task; return its id."""
    id_ = str(uuid4())
    commands.hand_over("shop", [{"id": id_, "task": name, "args": list(args), "kwargs": {}, "options": options}])
    return id_


def reported() -> dict[str, dict[str, Event]]:
    """What was reported of each task, by status."""
    seen: dict[str, dict[str, Event]] = defaultdict(dict)
    for _, entry in client().xrange(KEYS.events):
        for event in decode(entry[b"e"]):
            seen[event.task_id][event.status.value] = event
    return seen


#: Celery 5.6 marks a task as revoked even in the worker that runs it; 5.7 does so in the others only.
@pytest.mark.parametrize(("version", "pool"), [("5.3", "prefork"), ("5.7", "prefork"), ("5.6", "threads"), ("5.3", "gevent")])
def test_an_attached_application_does_what_zenith_asks(version: str, pool: str, shop: Callable[[str], Shop], url: str) -> None:
    here = shop(version)
    # It holds one message besides the task that it runs.
    one = ("-c", "1", "--prefetch-multiplier", "1", "--pool", pool)
    here.worker("shop@one", *one, ZENITH_URL=url)

    def seen(id_: str, status: str) -> Event:
        return eventually(lambda: reported()[id_].get(status), but=lambda: f"{dict(reported()[id_])}\n{here.log[-4000:]}")

    digest = eventually(lambda: [beat.catalogue for beat in heartbeat.read_all("shop") if beat.catalogue])[0]
    catalogue = json.loads(catalogues.read("shop", [digest])[digest])
    assert (catalogue["shop.order"]["queue"], catalogue["shop.order"]["doc"]) == ("slow", "Order something.")

    order, wrong = send("shop.order", 7), send("shop.add", 1)
    assert seen(order, "QUEUED").queue == "slow"
    assert seen(order, "SUCCESS")
    assert json.loads(here.read("GET", f"celery-task-meta-{order}"))["result"] == [7, "slow", True, {}]
    assert here.read("LRANGE", "shop:sent", "0", "-1") == [order.encode()], "its own apply_async was used"
    assert seen(wrong, "FAILURE").error_type == "TypeError"
    assert "QUEUED" not in reported()[wrong]

    running = send("shop.slow", 2)
    seen(running, "STARTED")
    held, waiting = send("shop.add", 1, 2), send("shop.add", 1, 2)
    seen(waiting, "QUEUED")
    commands.ask("shop", Kind.REVOKE, {"ids": [waiting, running]})
    seen(held, "SUCCESS")
    seen(waiting, "REVOKED")
    seen(running, "SUCCESS")
    assert "REVOKED" not in reported()[running], "it ran on"

    unheard = send("shop.add", 3, 4, queue="later")
    seen(unheard, "QUEUED")
    here.stop()
    commands.remember_cancelled("shop", [unheard])
    missed = send("shop.order", 8)
    here.worker("shop@two", *one, "-Q", "celery,slow,later", ZENITH_URL=url)
    seen(unheard, "REVOKED")
    seen(missed, "SUCCESS")
    runs = here.read("LRANGE", "shop:runs", "0", "-1")
    assert sorted(runs) == sorted(id_.encode() for id_ in (order, running, held, missed)), "each once"
    eventually(lambda: commands.waiting("shop") == 0)
    assert "NoPermission" not in here.log
    assert "Traceback" not in here.log
