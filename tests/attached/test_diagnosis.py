"""Set-ups that really are broken, with real workers and a real broker: the diagnosis names each by its right rule first.

Here the applications are attached; what is watched is in test_watched_diagnosis.py. What both see in the same way is part of
`make test-long` here.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tasks_app import catalog
from tasks_app.diagnosis import worker_facts
from tasks_app.diagnosis.diagnose import Diagnosis
from tasks_app.diagnosis.gather import diagnosis_of
from tasks_app.diagnosis.rules import workers as worker_rules
from tasks_app.maintenance import catalogues
from tasks_app.models import Application
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire import heartbeat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: Settings with which nothing is wrong.
GOOD = {"task_time_limit": 600}
ONE = ("-c", "1", "--prefetch-multiplier", "1")
#: The interval of a schedule, which other tests shorten, and a task of the shop.
ADD = ["shop.add", [1, 2], {}]


def diagnosis() -> Diagnosis | None:
    """Record what was reported, and diagnose; None until a worker has told its tasks."""
    record()
    catalogues.take_in()
    catalog.forget()
    shop = Application.named("shop")
    if shop is None or not any(beat.catalogue for beat in heartbeat.read_all("shop")):
        return None
    return diagnosis_of(shop)


def rules() -> list[str]:
    found = diagnosis()
    return [finding.rule for finding in found.findings] if found else ["nothing is known yet"]


def set_up(**settings: Any) -> dict[str, str]:
    return {"SHOP_SETTINGS": json.dumps({**GOOD, **settings})}


def is_named(here: Shop, rule: str, *others: str) -> None:
    """Wait until a rule is the first that finds something; only `others` may find something as well."""
    eventually(lambda: rules()[:1] == [rule], but=lambda: f"{rules()}\n{here.log[-4000:]}")
    assert set(rules()) <= {rule, *others}


def send(here: Shop, *tasks: list[Any], **changes: str) -> list[str]:
    ids: list[str] = here.run("stuck.py", json.dumps(tasks), **changes)
    return ids


def test_a_healthy_application_has_no_finding_and_a_queue_without_consumer_is_named(shop: Callable[[str], Shop]) -> None:
    here, changes = shop("5.7"), set_up()
    here.worker("shop@one", "-c", "2", **changes)
    send(here, ADD, ADD, **changes)
    eventually(lambda: rules() == [], but=lambda: f"{rules()}\n{here.log[-4000:]}")
    send(here, ["shop.add", [1, 2], {"queue": "bulk"}], **changes)
    is_named(here, "no-consumer")


def test_rate_limited_tasks_that_fill_the_prefetch(shop: Callable[[str], Shop]) -> None:
    here, changes = shop("5.7"), set_up(task_annotations={"shop.add": {"rate_limit": "1/m"}})
    here.worker("shop@one", "-c", "2", "--prefetch-multiplier", "1", **changes)
    send(here, *[ADD] * 6, **changes)
    is_named(here, "rate-limit-fills-prefetch")


if IS_LONG:

    def test_what_a_killed_worker_had_acknowledged(shop: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_facts, "SETTLED_AFTER", 0.0)
        here, changes = shop("5.7"), set_up()
        worker = here.worker("shop@one", *ONE, **changes)
        here.worker("shop@two", *ONE, "-Q", "other", **changes)
        send(here, ["shop.endless", [], {}], **changes)
        eventually(lambda: diagnosis() is not None and Application.objects.get(name="shop").task_set.filter(status="STARTED"))
        os.killpg(worker.pid, signal.SIGKILL)
        is_named(here, "lost-early-acknowledged", "worker-silent")

    def test_settings_that_will_hurt(shop: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_rules, "LONG_FOR_PREFETCH", 0.5)
        here, changes = shop("5.7"), {"SHOP_SETTINGS": json.dumps({"result_expires": 1, "worker_prefetch_multiplier": 0})}
        here.worker("shop@one", "-c", "1", **changes)
        send(here, ["shop.slow", [2], {"priority": 0}], ["shop.add", [1, 2], {"priority": 1}], **changes)
        expected = {"unbounded-prefetch", "priorities-without-steps", "results-expire", "no-time-limit"}
        eventually(lambda: expected <= set(rules()), but=lambda: f"{rules()}\n{here.log[-4000:]}")

    def test_tasks_with_an_eta_are_held_without_bound_and_beyond_the_visibility_timeout(shop: Callable[[str], Shop]) -> None:
        here, changes = shop("5.7"), set_up()
        first = here.worker("shop@one", *ONE, **changes)
        send(here, *[["shop.add", [1, 2], {"countdown": 900}]] * 12, **changes)
        is_named(here, "eta-grows-prefetch")
        first.terminate()
        first.wait()
        short = set_up(broker_transport_options={"visibility_timeout": 300})
        here.worker("shop@two", *ONE, **short)
        is_named(here, "visibility-timeout", "eta-grows-prefetch")

    def test_a_task_that_no_worker_knows(shop: Callable[[str], Shop]) -> None:
        here, changes = shop("5.7"), set_up()
        here.worker("shop@one", *ONE, **changes)
        send(here, ["shop.renamed", [], {}], **changes)
        is_named(here, "unknown-task")

    def test_a_pool_that_is_dead(shop: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_rules, "STALLED_AFTER", 1.0)
        here, changes = shop("5.7"), set_up()
        worker = here.worker("shop@one", *ONE, **changes)
        eventually(lambda: rules() == [], but=lambda: here.log[-4000:])
        children = [int(child) for child in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            send(here, ADD, **changes)
            is_named(here, "pool-stalled")
        finally:
            for child in children:
                os.kill(child, signal.SIGCONT)

    def test_long_tasks_in_every_slot(shop: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_rules, "LONG_RUN", 1.0)
        here, changes = shop("5.7"), set_up()
        worker = here.worker("shop@one", *ONE, **changes)
        send(here, ["shop.slow", [300], {}], *[ADD] * 4, **changes)
        is_named(here, "long-tasks-block")
        # It would end only after its task.
        os.killpg(worker.pid, signal.SIGKILL)

    def test_workers_of_different_releases(shop: Callable[[str], Shop]) -> None:
        newer, older = shop("5.7"), shop("5.3")
        newer.worker("shop@one", *ONE, **set_up())
        older.worker("shop@two", *ONE, **set_up(), SHOP_BROKER=newer.broker, SHOP_RESULTS=newer.results)
        is_named(newer, "mixed-versions")

    def test_beat_that_runs_twice_and_beat_that_does_not_run(shop: Callable[[str], Shop], tmp_path: Path) -> None:
        here, changes = shop("5.7"), set_up(beat_schedule={"adding": {"task": "shop.add", "schedule": 1.0, "args": [1, 2]}})
        here.worker("shop@one", "-c", "2", **changes)
        eventually(lambda: diagnosis() is not None, but=lambda: here.log[-4000:])
        Application.objects.filter(name="shop").update(first_heard_at=timezone.now() - timedelta(hours=1))
        is_named(here, "beat-dead")
        for name in ("first", "second"):
            here.start(f"beat-{name}", "-m", "celery", "-A", "attached_shop", "beat", "-s", str(tmp_path / name), "--pidfile", "",
                       **changes)  # fmt: skip
        is_named(here, "beat-doubled")
