"""An application with settings of its own, and with beat, behaves the same with Zenith and without."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_app.models import Task
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.attached.test_behaviours import assert_same_and_recorded, both
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

SETTINGS = {
    "worker_max_tasks_per_child": 1,
    "broker_transport_options": {"global_keyprefix": "north:"},
    "result_backend_transport_options": {"global_keyprefix": "north:"},
}
#: What processes that end after each task, and another prefix, could change.
CHOSEN = (
    "plain", "failure", "ignored result", "retried", "retried, ignored result", "Ignore", "requeued", "revoked",
    "soft time limit", "chain", "chord", "replaced by a chord", "own id", "own state", "loop with progress",
)  # fmt: skip


def test_one_task_for_each_process_and_a_key_prefix(shop: Callable[[str], Shop]) -> None:
    shops, changes = (shop("5.7"), shop("5.7")), {"SHOP_SETTINGS": json.dumps(SETTINGS)}
    assert_same_and_recorded(*both(shops, ("-c", "2"), ("--only", *CHOSEN), **changes), shops[0])
    assert all(here.read("KEYS", "north:celery-task-meta-*") for here in shops)


if IS_LONG:  # Celery takes half a minute for it.

    def test_a_pool_that_is_restarted_goes_on_reporting(shop: Callable[[str], Shop]) -> None:
        here, changes = shop("5.7"), {"SHOP_SETTINGS": json.dumps({"worker_pool_restarts": True})}
        here.worker("shop@one", "-c", "2", **changes)
        sent = here.run("restarts.py", **changes)
        assert {*sent["after"]} - {*sent["before"]}
        eventually(lambda: succeeded(sent["ids"]) == len(sent["ids"]), but=lambda: here.log[-4000:])


def test_beat_in_the_worker_attached_or_neither_sends_as_ever(shop: Callable[[str], Shop], tmp_path: Path) -> None:
    here = shop("5.7")

    def schedule(name: str) -> dict[str, str]:
        entry = {"task": "shop.add", "schedule": 1.0, "args": [name, "!"]}
        return {"SHOP_SETTINGS": json.dumps({"beat_schedule": {name: entry}})}

    def beat(app: str, name: str, *, attached: bool) -> None:
        options = ("-s", str(tmp_path / name), "--pidfile", "")
        here.start(f"beat-{name}", "-m", "celery", "-A", app, "beat", *options, attached=attached, **schedule(name))

    here.worker("shop@one", "-c", "2", "-B", "-s", str(tmp_path / "embedded"), **schedule("embedded"))
    beat("attached_shop", "attached", attached=True)
    beat("shop", "alone", attached=False)

    def recorded() -> dict[str, int]:
        record()
        ended = Task.objects.filter(name="shop.add", status="SUCCESS", args__1="!")
        return Counter(name for name in ended.values_list("args__0", flat=True))

    eventually(lambda: len(recorded()) == 3 and min(recorded().values()) >= 2, but=lambda: here.log[-4000:])
    here.stop()
    runs = Counter(id_.decode() for id_ in here.read("LRANGE", "shop:runs", "0", "-1"))
    assert set(runs.values()) == {1}
    eventually(lambda: succeeded(list(runs)) == len(runs))
    assert len(here.read("KEYS", "celery-task-meta-*")) == len(runs)
    # A row begins with the message only if its sender is attached.
    told = Task.objects.filter(status="SUCCESS").values_list("args__0", "queued_at")
    assert {name: at is not None for name, at in told} == {"embedded": True, "attached": True, "alone": False}


def succeeded(ids: list[str]) -> int:
    record()
    return Task.objects.filter(id__in=[key_of(id_, "shop") for id_ in ids], status="SUCCESS").count()
