"""With the guard `recovery`, what a killed worker held runs again elsewhere at once, also while Zenith is away."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest
import redis

from tests.attached.conftest import Shop
from tests.attached.test_behaviours import POOLS, PROCESSES_ONLY, assert_same_and_recorded, both
from tests.attached.test_outages import ELSEWHERE, Relay, relay
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire.heartbeat import DEAD_AFTER
from zenith_worker.wire.held_messages import Owner
from zenith_worker.wire.keys import recovery_keys

__all__ = ["relay"]
pytestmark = pytest.mark.processes

KEYS = recovery_keys("shop")
#: As an application has them that shares its broker's database with others; an hour is Celery's own default.
OPTIONS = {"broker_transport_options": {"global_keyprefix": "theirs:", "visibility_timeout": 3600}}


@pytest.mark.parametrize("version", ["5.3", "5.7"])
def test_what_a_killed_worker_held_runs_soon_while_zenith_is_away(
    version: str, shop: Callable[[str], Shop], relay: Relay
) -> None:
    here, settings = shop(version), json.dumps(OPTIONS)
    relay.open()
    changes = {"ZENITH_URL": relay.url, "ZENITH_GUARD": "recovery", "SHOP_SETTINGS": settings}
    first = here.worker("shop@one", "-c", "1", **changes)
    sent = here.run("sends.py", "shop.stays_once", attached=False, SHOP_SETTINGS=settings)
    broker = redis.Redis.from_url(here.broker)
    eventually(lambda: here.read("LLEN", "shop:runs") == 1, but=lambda: here.log[-4000:])
    (note,) = broker.hvals(f"theirs:{KEYS.taken}")
    owner = Owner.parse(note.decode())
    assert owner.place == "celery"
    relay.cut()
    # With the pool's processes: they are of its group.
    os.killpg(first.pid, signal.SIGKILL)
    alive = f"theirs:{KEYS.alive}{owner.run}"
    assert 0 < broker.pttl(alive) <= DEAD_AFTER * 1000
    if not IS_LONG:
        broker.delete(alive, f"theirs:{KEYS.lease}")
    here.worker("shop@two", "-c", "1", **changes)
    eventually(lambda: here.read("LLEN", "shop:runs") == 2, within=40, but=lambda: here.log[-4000:])
    assert here.read("LRANGE", "shop:runs", "0", "-1") == [sent.encode()] * 2
    eventually(lambda: not broker.hlen("theirs:unacked"))
    assert not broker.exists(f"theirs:{KEYS.taken}")
    assert f"The message of task {sent} went back to its queue: its worker died" in here.log
    here.stop()
    assert not broker.keys(f"theirs:{KEYS.alive}*"), "a worker that was stopped does not look alive, nor was it killed late"


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"] if IS_LONG else ["prefork"])
@pytest.mark.django_db(transaction=True)
def test_with_the_guard_an_application_behaves_as_without_zenith(pool: str, shop: Callable[[str], Shop]) -> None:
    arguments = () if pool == "prefork" else PROCESSES_ONLY
    shops = (shop("5.7"), shop("5.7"))
    assert_same_and_recorded(*both(shops, POOLS[pool], arguments, ZENITH_GUARD="recovery"), shops[0])
    broker = redis.Redis.from_url(shops[0].broker)
    assert broker.exists(KEYS.lease)
    assert not broker.exists(KEYS.taken, "unacked")


def test_without_the_guard_a_killed_workers_message_has_no_owner_and_stays(shop: Callable[[str], Shop]) -> None:
    here = shop("5.7")
    first = here.worker("shop@one", "-c", "1")
    here.run("sends.py", "shop.stays_once", attached=False)
    eventually(lambda: here.read("LLEN", "shop:runs") == 1, but=lambda: here.log[-4000:])
    os.killpg(first.pid, signal.SIGKILL)
    broker = redis.Redis.from_url(here.broker)
    here.worker("shop@two", "-c", "1", ZENITH_GUARD="recovery")
    # It looks, and finds nobody.
    eventually(lambda: broker.exists(KEYS.lease), but=lambda: here.log[-4000:])
    assert not broker.exists(KEYS.taken)
    assert broker.hlen("unacked") == 1


if IS_LONG:  # What is forgotten comes back after ten seconds.

    @pytest.mark.parametrize("pool", ["prefork", "threads"])
    def test_each_task_runs_once_although_the_broker_was_away(pool: str, shop: Callable[[str], Shop], relay: Relay) -> None:
        """One runs on. The others wait: a pool of threads has them already, and one of processes does not.

        Celery 5.3 never hears from its pool's process of the one that ran on: its message stays until that worker ends.
        """
        here, settings = shop("5.7"), json.dumps({"task_acks_late": True, "task_routes": {}})
        broker, relayed = redis.Redis.from_url(here.broker), here.broker.replace("@127.0.0.1:", f"@{ELSEWHERE}:")
        assert ELSEWHERE in relayed
        relay.open()
        changes = {"ZENITH_GUARD": "recovery", "SHOP_SETTINGS": settings, "SHOP_BROKER": relayed}
        here.worker("shop@one", "-c", "1", "-P", pool, "--prefetch-multiplier", "4", **changes)
        here.run("-c", "import shop; [shop.slow.delay(14) for _ in range(3)]; print(1)", attached=False, SHOP_SETTINGS=settings)
        eventually(lambda: (here.read("LLEN", "shop:runs"), broker.hlen("unacked")) == (1, 3), but=lambda: here.log[-4000:])
        relay.cut()
        eventually(lambda: "Cannot connect to" in here.log, but=lambda: here.log[-4000:])
        relay.open()
        eventually(lambda: not broker.exists("celery", "unacked"), within=60, but=lambda: here.log[-4000:])
        assert here.read("LLEN", "shop:runs") == 3, here.log[-4000:]
        assert not broker.exists(KEYS.taken)
