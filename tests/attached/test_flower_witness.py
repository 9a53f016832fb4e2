"""Flower is the independent witness: whatever it lists of an application that both watch, Zenith has with the same facts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tasks_app.models import Task
from tasks_app.watching import observer_state
from tasks_app.watching.applications import Watch, watch
from tasks_app.watching.observers import Observers
from tests.attached.agreement import Agreement, Difference, Excuse, Gaps, compare
from tests.attached.conftest import Shop
from tests.attached.flower import Flower, flower
from tests.attached.recording import record
from tests.rabbitmq import running
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: Tasks that are sent, and the seconds over which they are.
NUMBERS = {"redis": 5000 if IS_LONG else 600, "rabbitmq": 5000}
SECONDS = 60 if IS_LONG else 4
#: Workers as their application starts them: their processes end seldom, and they tell of tasks (`-E`) from their start.
WORKERS = ("shop@one", "shop@two") if IS_LONG else ("shop@one",)
OPTIONS = ("-c", "4", "-E")
SETTINGS = {"worker_max_tasks_per_child": 1000}
#: Redis: what a killed worker had is delivered again after so many seconds, and kombu looks for it every two seconds.
REDELIVERY = {"visibility_timeout": 10, "unacked_restore_interval": 2, "unacked_restore_throttle": 1}
#: Seconds without a change after which nothing more is to come: the longest countdown is 2.5, the longest task takes 5, and what
#: a killed worker had comes last.
STILL = 18.0 if IS_LONG else 6.0


class Both:
    """Flower and Zenith, which watch the same application, and its workers."""

    def __init__(self, here: Shop, there: Flower) -> None:
        self.here, self.flower = here, there
        self.application, _ = watch("shop", Watch(url=here.broker))
        self.observers = Observers()
        redelivery = {"broker_transport_options": REDELIVERY} if IS_LONG and here.broker.startswith("redis") else {}
        self.settings = {"SHOP_SETTINGS": json.dumps({**SETTINGS, **redelivery})}
        self.workers = {name: self._start(name) for name in WORKERS}
        self.listen()
        eventually(lambda: self.look() and {*WORKERS} <= there.workers(), but=lambda: f"{there.log}\n{here.log[-3000:]}")

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        return self.here.worker(name, *OPTIONS, attached=False, **self.settings)

    def look(self) -> bool:
        """Do what Zenith's engine does."""
        self.observers.run_once()
        return record()

    def listen(self) -> None:
        """Wait until Zenith listens."""
        eventually(lambda: self.look() and (state := observer_state.read("shop")) is not None and state.listens)

    def runs(self, number: float) -> None:
        """Wait until so many runs were made since the beginning."""
        eventually(
            lambda: self.look() and int(self.here.read("LLEN", "shop:runs")) >= number, within=60,
            but=lambda: self.here.log[-4000:],
        )  # fmt: skip

    def restart(self, name: str, number: int) -> None:
        """End a worker as an operator or a power cut does, and start it again."""
        worker = self.workers[name]
        if number == signal.SIGTERM:
            worker.terminate()
        else:
            os.killpg(worker.pid, number)
        worker.wait()
        self.workers[name] = self._start(name)

    def rest(self) -> dict[str, dict[str, Any]]:
        """Wait until all that was sent was taken, and nothing changes any more; return Flower's tasks."""
        self.here.run("burst.py", "20", attached=False)
        since, told = time.monotonic(), self.flower.tasks()

        def is_still() -> bool:
            nonlocal since, told
            # Recording may take longer than what is waited for: what was read before it says nothing of the time since.
            self.look()
            seen, now = self.flower.tasks(), time.monotonic()
            if seen != told:
                since, told = now, seen
            return now - since > STILL

        eventually(is_still, within=60 + 3 * STILL)
        return told

    def is_away_for(self, number: float) -> tuple[float, float]:
        """Let nobody observe while so many tasks run; return from when to when, as Unix times."""
        stopped_at = time.time()
        self.observers.stop()
        # Another engine goes on recording.
        record()
        before = int(self.here.read("LLEN", "shop:runs"))
        eventually(lambda: int(self.here.read("LLEN", "shop:runs")) > before + number, within=60)
        started_at = time.time()
        self.observers = Observers()
        self.listen()
        return stopped_at, started_at

    def agreement(self, told: dict[str, dict[str, Any]]) -> Agreement:
        """Compare what Flower told with Zenith's rows."""
        self.look()
        self.observers.note()
        self.application.refresh_from_db()
        rows = Task.objects.filter(application=self.application).prefetch_related("events")
        return compare(told, {row.celery_id: row for row in rows}, Gaps(self.application.gaps))


@pytest.fixture(params=["redis", "rabbitmq"] if IS_LONG else ["redis"])
def both(request: pytest.FixtureRequest, shop: Callable[[str], Shop], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    here = shop("5.7")
    if request.param == "redis":
        yield from _watched(here, tmp_path_factory)
    else:
        with running(tmp_path_factory.mktemp("rabbitmq") / "node") as server:
            here.broker = server.url(server.hosts[0])
            yield from _watched(here, tmp_path_factory)


def _watched(here: Shop, directories: pytest.TempPathFactory) -> Iterator[Both]:
    with flower(here.broker, directories.mktemp("witness") / "flower") as there:
        both = Both(here, there)
        yield both
        both.observers.stop()
        here.stop()


def test_every_task_that_flower_lists_stands_in_zenith_with_the_same_facts(both: Both, request: pytest.FixtureRequest) -> None:
    number = NUMBERS[request.node.callspec.params["both"]]
    first, last = WORKERS[0], WORKERS[-1]
    away = None
    with ThreadPoolExecutor(1) as thread:
        sending: Future[list[str]] = thread.submit(both.here.run, "mixed.py", str(number), str(SECONDS), attached=False)
        both.runs(number / 5)
        both.restart(first, signal.SIGTERM)
        if IS_LONG:
            # What a killed worker had is delivered again, to the other one as well, and some of it runs twice.
            both.runs(number * 3 / 10)
            both.restart(last, signal.SIGKILL)
            both.runs(number * 4 / 10)
            away = both.is_away_for(number / 20)
            both.runs(number * 5 / 10)
            both.restart(first, signal.SIGKILL)
        both.runs(number * 3 / 5)
        both.restart(last, signal.SIGKILL if IS_LONG else signal.SIGTERM)
        sent = sending.result()
    told = both.rest()
    assert len(told.keys() & sent) >= number * 0.9
    agreement = both.agreement(told)
    print(f"{len(sent)} tasks were sent, Flower lists {agreement.tasks}; excused: {dict(agreement.excused)}")  # noqa: T201
    assert agreement.differences == [], "\n".join(_shown(one, told) for one in agreement.differences[:20])
    # It says when it did not listen, and that is when it did not.
    assert len(both.application.gaps) == (away is not None)
    for start, end, reason in both.application.gaps:
        assert away is not None
        assert reason == "no observer ran"
        assert away[0] - 1 <= start < away[1] <= end
        assert agreement.excused[Excuse.GAP] > 0


def _shown(difference: Difference, told: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a difference with all that both know of its task."""
    known = {name: value for name, value in told[difference.task].items() if value is not None and name != "traceback"}
    steps = Task.objects.filter(pk=key_of(difference.task, "shop")).values_list(
        "events__status", "events__at", "events__position"
    )
    return f"{difference}\n  Flower: {known}\n  Zenith: {[(status, at.timestamp(), place) for status, at, place in steps]}"
