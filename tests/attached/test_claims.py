"""The guard `claims`: of several deliveries of a task one runs, whatever delivered it more than once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tasks_app.models import Task
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.waiting import eventually
from zenith_worker.wire import commands
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: Sends these tasks, in this order, and prints nothing of interest.
SENDS = "import json, shop, sys; [shop.app.send_task(n, a, task_id=i) for n, a, i in json.loads(sys.argv[1])]; print(1)"
LATE = {"task_acks_late": True, "task_reject_on_worker_lost": True, "worker_prefetch_multiplier": 1}
POOLS = {"prefork": ("-c", "3"), "threads": ("-c", "3", "--pool", "threads")}


def runs(here: Shop) -> Counter[str]:
    return Counter(id_.decode() for id_ in here.read("LRANGE", "shop:runs", 0, -1))


def status(id_: str) -> str | None:
    record()
    return Task.objects.filter(pk=key_of(id_, "shop")).values_list("status", flat=True).first()


def result(here: Shop, id_: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(here.read("GET", f"celery-task-meta-{id_}") or "{}")
    return stored


def deliver_again(here: Shop, id_: str) -> None:
    """Put a message that a worker holds into its queue again, as kombu does after the visibility timeout."""
    broker = redis.Redis.from_url(here.broker)
    for held in broker.hvals("unacked"):
        message, _exchange, queue = json.loads(held)
        if message["headers"]["id"] == id_:
            message["headers"]["redelivered"] = message["properties"]["delivery_info"]["redelivered"] = True
            broker.rpush(queue, json.dumps(message))
            return
    raise AssertionError(f"nobody holds {id_}")


@pytest.mark.parametrize("pool", POOLS)
def test_a_message_that_comes_again_while_its_task_runs_stays_until_that_ends(pool: str, shop: Callable[[str], Shop]) -> None:
    """It may be the only one left: the broker forgets the delivery that runs."""
    here = shop("5.7")
    here.worker("shop@one", *POOLS[pool], ZENITH_GUARD="claims", SHOP_SETTINGS=json.dumps(LATE))
    here.run("-c", SENDS, json.dumps([["shop.slow", [4], "long"]]), attached=False)
    eventually(lambda: runs(here)["long"], but=lambda: here.log[-4000:])
    deliver_again(here, "long")
    eventually(lambda: "goes back to its queue: another one is running it" in here.log, but=lambda: here.log[-4000:])
    eventually(lambda: status("long") == "SUCCESS", but=lambda: here.log[-4000:])
    broker = redis.Redis.from_url(here.broker)
    eventually(lambda: not broker.hlen("unacked") and not broker.llen("slow"), but=lambda: here.log[-4000:])
    assert runs(here)["long"] == 1
    assert result(here, "long")["result"] == 4


#: What Celery runs again by itself, the result that is stored (Celery keeps the first success), and the runs.
AGAIN = {
    "goes_on": ("attempt 0", 2), "late_once": ("in time", 2), "exits_once": ("stays", 2), "sent_anew": ("attempt 1", 2),
    "dies_once": ("lives", 2), "requeued": ("now", 2),
}  # fmt: skip


def test_what_celery_runs_again_by_itself_runs_again(shop: Callable[[str], Shop]) -> None:
    here = shop("5.7")
    settings = {"task_acks_late": True, "task_reject_on_worker_lost": True}
    here.worker("shop@one", "-c", "3", ZENITH_GUARD="claims", SHOP_SETTINGS=json.dumps(settings))
    sent = [[f"shop.{name}", [], name] for name in AGAIN] + [["shop.replaced_by_chain", [1], "chain"]]
    here.run("-c", SENDS, json.dumps(sent), attached=False)
    wanted = {**{name: value for name, (value, _) in AGAIN.items()}, "chain": 3}
    eventually(
        lambda: {id_: result(here, id_).get("result") for id_ in wanted} == wanted, but=lambda: here.log[-6000:], within=40
    )
    eventually(lambda: {id_: status(id_) for id_ in wanted} == dict.fromkeys(wanted, "SUCCESS"), but=lambda: here.log[-6000:])
    seen = runs(here)
    assert {name: seen[name] for name in AGAIN} == {name: times for name, (_, times) in AGAIN.items()}


def test_a_part_that_was_cancelled_fails_its_chord(shop: Callable[[str], Shop]) -> None:
    here = shop("5.7")
    here.worker("shop@one", "-c", "2", ZENITH_GUARD="claims")
    eventually(lambda: here.log.count("ready."), but=lambda: here.log[-4000:])
    commands.remember_cancelled("shop", ["part"])
    parts = "chord([shop.add.s(1, 1), shop.add.s(2, 2).set(task_id='part')], shop.total.s().set(task_id='body')).delay()"
    here.run("-c", f"import shop; from celery import chord; {parts}; print(1)", attached=False)
    eventually(lambda: result(here, "part").get("status") == "REVOKED", but=lambda: here.log[-4000:])
    eventually(lambda: result(here, "body").get("status") == "FAILURE", but=lambda: here.log[-4000:])
    eventually(lambda: status("part") == "REVOKED", but=lambda: here.log[-4000:])


def test_copies_cancelled_and_poisonous_tasks_do_not_run(shop: Callable[[str], Shop]) -> None:
    here = shop("5.3")
    here.worker("shop@one", "-c", "2", ZENITH_GUARD="claims", SHOP_SETTINGS=json.dumps(LATE))
    eventually(lambda: here.log.count("ready."), but=lambda: here.log[-4000:])
    # No worker was asked to revoke it, and its next look for cancelled tasks is a minute away.
    commands.remember_cancelled("shop", ["cancelled"])
    copied = ["shop.slow", [1], "copied"]
    sent = [["shop.dies", [], "poison"], copied, copied, ["shop.add", [1, 1], "cancelled"]]
    here.run("-c", SENDS, json.dumps(sent), attached=False)
    seen = {"poison": "FAILURE", "copied": "SUCCESS", "cancelled": "REVOKED"}
    eventually(lambda: {id_: status(id_) for id_ in seen} == seen, but=lambda: here.log[-4000:], within=40)
    assert runs(here) == {"poison": 3, "copied": 1}
    told = result(here, "poison")
    assert (told["status"], told["result"]["exc_type"]) == ("FAILURE", "PoisonTaskError")
    row = Task.objects.get(pk=key_of("poison", "shop"))
    assert "died 3 times" in row.error_message
