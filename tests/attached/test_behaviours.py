"""An application behaves the same with Zenith and without, and Zenith has a row for each of its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks_app.models import Application, Task, TaskProgress
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire import heartbeat
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: The status of each behaviour's task, where it is not that of its result.
STATUSES = {
    "ignored result": "SUCCESS", "pickled set": "SUCCESS", "ignored failure": "FAILURE", "retried, ignored result": "SUCCESS",
    "Ignore": "IGNORED", "Reject": "FAILURE", "sends another": "SUCCESS", "expired": "REVOKED", "revoked": "REVOKED",
    # The sender's result is that of the chain's end, which never ran.
    "chain that fails": "REVOKED",
}  # fmt: skip
#: Only processes can be stopped, and be lost.
PROCESSES_ONLY = (
    "hard time limit", "soft time limit", "hard time limit of the message", "lost process", "lost process, acknowledged late",
    "revoked while it runs",
)  # fmt: skip
POOLS: dict[str, tuple[str, ...]] = {
    "prefork": ("-c", "4"), "threads": ("-c", "4", "--pool", "threads"), "gevent": ("-c", "4", "--pool", "gevent"),
    "solo": ("--pool", "solo"), "spawn": ("-c", "2"),
}  # fmt: skip
#: Celery 5.7 is the first that can start a pool's processes anew instead of forking them. Each takes a second, so few end.
SPAWNS = {"worker_pool_start_method": "spawn", "worker_max_tasks_per_child": 100, "worker_proc_alive_timeout": 60.0}
#: Those whose tasks are claimed as well: nothing changes for messages that come once.
CLAIMED = [("5.3", "prefork"), ("5.7", "threads"), ("5.7", "spawn")]
#: All in `make test-long`.
ALWAYS = [
    ("5.3", "prefork"), ("5.3", "gevent"), ("5.7", "prefork"), ("5.7", "threads"), ("5.7", "solo"), ("5.7", "spawn"),
]  # fmt: skip
VERSIONS = ("5.3", "5.4", "5.5", "5.6", "5.7")
#: What was seen without Zenith: by version, broker, options, left out behaviours and settings.
WITHOUT: dict[tuple[object, ...], dict[str, Any]] = {}
CASES = [
    (version, pool)
    for version in VERSIONS
    for pool in POOLS
    if (version, pool) in ALWAYS or (IS_LONG and (pool != "spawn" or version == "5.7"))
]


@pytest.mark.parametrize(("version", "pool"), CASES)
def test_an_attached_application_behaves_as_one_that_is_not(version: str, pool: str, shop: Callable[[str], Shop]) -> None:
    arguments = () if pool in {"prefork", "spawn"} else PROCESSES_ONLY
    settings = SPAWNS if pool == "spawn" else {}
    shops = (shop(version), shop(version))
    assert_same_and_recorded(*both(shops, POOLS[pool], arguments, SHOP_SETTINGS=json.dumps(settings)), shops[0])


@pytest.mark.parametrize(("version", "pool"), CASES if IS_LONG else CLAIMED)
def test_an_application_whose_tasks_are_claimed_behaves_the_same(version: str, pool: str, shop: Callable[[str], Shop]) -> None:
    arguments = () if pool in {"prefork", "spawn"} else PROCESSES_ONLY
    changes = {"SHOP_SETTINGS": json.dumps(SPAWNS if pool == "spawn" else {}), "ZENITH_GUARD": "claims"}
    shops = (shop(version), shop(version))
    assert_same_and_recorded(*both(shops, POOLS[pool], arguments, **changes), shops[0])
    assert {beat.guards for beat in heartbeat.read_all("shop")} == {("claims",)}


def both(
    shops: tuple[Shop, Shop], options: tuple[str, ...], arguments: tuple[str, ...], **changes: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what senders see of an attached application and of one that is not, which run at the same time.

    What is seen without Zenith is the same whatever guards the attached one has, and is looked at once for all of them.
    """

    def behave(here: Shop, attached: bool) -> dict[str, Any]:
        here.worker("shop@one", *options, attached=attached, **changes)
        seen: dict[str, Any] = here.run("behaviours.py", *arguments, attached=attached, **changes)
        return seen

    here, other = shops
    broker = other.broker.partition(":")[0]
    known = (other.version, broker, options, arguments, changes.get("SHOP_SETTINGS"))
    with ThreadPoolExecutor(2) as threads:
        attached = threads.submit(behave, here, True)
        if known not in WITHOUT:
            WITHOUT[known] = behave(other, False)
        return attached.result(), WITHOUT[known]


def assert_same_and_recorded(attached: dict[str, Any], without: dict[str, Any], here: Shop) -> None:
    """Check that both saw the same, and that each task of the attached one (`here`) has its row."""
    assert attached["seen"] == without["seen"]
    assert attached["total"] == without["total"]
    application = eventually(lambda: record() and Application.objects.filter(name="shop").first())
    assert (application.kind, application.main) == ("attached", "shop")
    assert [beat.name for beat in heartbeat.read_all("shop")] == ["shop@one"]
    wanted = {name: STATUSES.get(name, seen["state"]) for name, seen in attached["seen"].items()}

    def statuses() -> dict[str, str]:
        record()
        keys = {key_of(id_, "shop"): name for name, id_ in attached["ids"].items()}
        return {keys[key]: status for key, status in Task.objects.filter(id__in=keys).values_list("id", "status")}

    eventually(lambda: statuses() == wanted, but=lambda: f"{differences(statuses(), wanted)}\n{here.log[-20_000:]}")
    assert not Task.objects.exclude(application=application).exists()
    told = TaskProgress.objects.get(task_id=key_of(attached["ids"]["own state"], "shop"))
    assert (told.current, told.total, told.state) == (1, 2, "PROGRESS")
    looped = TaskProgress.objects.get(task_id=key_of(attached["ids"]["loop with progress"], "shop"))
    assert (looped.current, looped.total) == (500, 500)
    (beat,) = heartbeat.read_all("shop")
    used = Task.objects.get(id=told.task_id)
    assert (used.cpu is None, used.memory is None) == (beat.pool == "gevent", beat.pool in {"gevent", "thread"})
    # What a task calls itself has no message, and no row.
    assert not Task.objects.filter(name="shop.add", args=[20, 20]).exists()


def differences(seen: dict[str, str], wanted: dict[str, str]) -> dict[str, tuple[str | None, str]]:
    return {name: (seen.get(name), status) for name, status in wanted.items() if seen.get(name) != status}
