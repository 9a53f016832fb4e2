"""Zenith controls the workers of an attached application, which has its own Redis user, and a broker that Zenith never sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tasks_app.control import workers as control
from tasks_app.errors import WorkerSilentError
from tasks_app.maintenance import application_users
from tasks_app.models import Application
from tests.attached.conftest import Shop
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_site.common.errors import StateConflictError
from zenith_worker.wire import commands, heartbeat
from zenith_worker.wire.client import client
from zenith_worker.wire.heartbeat import WorkerBeat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of Zenith's Redis for shop, whose user can use its own keys only."""
    Application.objects.create(name="shop", kind="attached")
    application_users.grant("shop")
    yield application_users.url("shop")
    client().execute_command("ACL", "DELUSER", application_users.username("shop"))


def beat(name: str) -> WorkerBeat | None:
    return next((found for found in heartbeat.read_all("shop") if found.name == name and found.online), None)


def is_ready(name: str) -> bool:
    found = beat(name)
    return found is not None and found.control == "on" and bool(found.catalogue)


def send(task: str, *args: object, **options: object) -> None:
    commands.hand_over("shop", [{"id": f"{task}{args}", "task": task, "args": list(args), "kwargs": {}, "options": options}])


def assert_obeys(here: Shop, pool: str) -> None:
    """The worker shop@one, which has two slots, does whatever it is told, and ends."""

    def has(**fields: object) -> None:
        eventually(
            lambda: (one := beat("shop@one")) and all(getattr(one, name) == value for name, value in fields.items()),
            but=lambda: f"{beat('shop@one')}\n{here.log[-4000:]}",
        )

    answered = control.ping("shop@one", "shop")
    assert (answered.worker, answered.answer) == ("shop@one", "pong")
    assert control.grow("shop@one", 2, "shop").answer == "pool will grow"
    has(slots=4)
    control.shrink("shop@one", 1, "shop")
    has(slots=3)
    control.add_queue("shop@one", "later", "shop")
    has(queues=("celery", "later", "slow"))
    assert control.cancel_queue("shop@one", "later", "shop").answer == ["later"]
    has(queues=("celery", "slow"))
    assert "new rate limit" in control.limit_rate("shop@one", "shop.add", "10/m", "shop").answer
    assert "time limits" in control.limit_time("shop@one", "shop.add", 5, 6.5, "shop").answer
    with pytest.raises(StateConflictError, match="unknown task"):
        control.limit_rate("shop@one", "nothing", "10/m", "shop")
    with pytest.raises(StateConflictError, match="Pool restarts not enabled" if pool == "prefork" else "only prefork"):
        control.restart_pool("shop@one", "shop")
    with pytest.raises(StateConflictError, match="without --autoscale"):
        control.autoscale("shop@one", 1, 2, "shop")

    control.drain("shop@one", "shop")
    has(queues=())
    control.shut_down("shop@one", "shop")
    eventually(lambda: beat("shop@one") is None, but=lambda: here.log[-4000:])
    assert beat("shop@two"), "the other one goes on"


#: The oldest Celery that is supported as well, and a pool without processes.
@pytest.mark.parametrize(("version", "pool"), [("5.7", "prefork"), *([("5.3", "gevent")] if IS_LONG else [])])
def test_workers_obey_and_answer(version: str, pool: str, shop: Callable[[str], Shop], url: str) -> None:
    here = shop(version)
    for name in ("shop@one", "shop@two"):
        here.worker(name, "-c", "2", "--pool", pool, ZENITH_URL=url)
    eventually(lambda: is_ready("shop@one") and is_ready("shop@two"), but=lambda: here.log[-4000:])
    assert_obeys(here, pool)
    assert commands.waiting("shop") == 0
    assert "NoPermission" not in here.log


def test_what_waits_is_told_and_a_busy_solo_pool_and_one_without_remote_control_are_said(
    shop: Callable[[str], Shop], url: str
) -> None:
    here = shop("5.7")
    solo = here.worker("shop@solo", "-c", "1", "--pool", "solo", "--prefetch-multiplier", "1", ZENITH_URL=url)
    off = '{"worker_enable_remote_control": false}'
    here.worker("shop@deaf", "-Q", "elsewhere", "-c", "1", ZENITH_URL=url, SHOP_SETTINGS=off)
    eventually(lambda: is_ready("shop@solo") and beat("shop@deaf"), but=lambda: here.log[-4000:])
    with pytest.raises(StateConflictError, match="worker_enable_remote_control is off"):
        control.shut_down("shop@deaf", "shop")

    send("shop.slow", 60, queue="celery")
    eventually(lambda: (found := beat("shop@solo")) and found.busy, but=lambda: here.log[-4000:])
    for number in range(5):
        send("shop.add", number, 1, queue="celery")
    with pytest.raises(WorkerSilentError, match="Its pool \\(solo\\) runs a task"):
        control.ping("shop@solo", "shop")
    depth = eventually(
        lambda: (found := beat("shop@solo")) and (depths := dict(found.depths)).get("celery", 0) >= 4 and depths,
        but=lambda: f"{beat('shop@solo')}\n{here.log[-4000:]}",
    )
    assert depth["slow"] == 0
    solo.kill()
