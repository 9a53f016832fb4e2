"""Zenith's Redis is away: the application's tasks run on time, and what was buffered arrives afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tasks_app.control.applications import add
from tasks_app.models import Application, Task
from tasks_app.queries.task_logs import read_forward
from tasks_app.recording.log_recorder import LogRecorder
from tests.attached.conftest import Shop, zenith_url
from tests.attached.recording import record
from tests.processes import REPOSITORY, exec_with_parent
from tests.servers import IS_LONG
from tests.waiting import eventually
from zenith_worker.wire import client, heartbeat
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import application_keys

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

MANY = 2_000
#: Seconds for which Zenith's Redis is away at least, and in which the tasks are sent.
AWAY, SENT_WITHIN = (60, 75) if IS_LONG else (0, 0)
#: The relay's own address; the server's is 127.0.0.1.
ELSEWHERE = "127.0.0.2"


class Relay:
    """A way to Zenith's Redis that can be cut."""

    def __init__(self) -> None:
        self._port = urlsplit(zenith_url()).port
        self.url = zenith_url().replace("@127.0.0.1:", f"@{ELSEWHERE}:")
        assert ELSEWHERE in self.url
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        self._process = subprocess.Popen(
            exec_with_parent(sys.executable, "-m", "tests.docker.relay", ELSEWHERE, str(self._port)), cwd=REPOSITORY
        )

    def cut(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def relay() -> Iterator[Relay]:
    way = Relay()
    yield way
    way.cut()


def recorded(ids: list[str]) -> int:
    record()
    return Task.objects.filter(id__in=[key_of(id_, "shop") for id_ in ids], status="SUCCESS").count()


def logged(id_: str) -> list[str]:
    """What a task logged, as an engine has it."""
    recorder = LogRecorder()
    while recorder.step(block=0.01) or recorder.step(block=0.01):
        pass
    return [line.message for line in read_forward(Task.objects.get(id=key_of(id_, "shop"))).lines]


@pytest.mark.parametrize("guard", ["", "claims"])
def test_tasks_run_while_zeniths_redis_is_away_and_their_reports_arrive_afterwards(
    guard: str, shop: Callable[[str], Shop], relay: Relay
) -> None:
    here = shop("5.7")
    relay.open()
    # Few ends of processes: those that end leave what they could not send to the main process.
    settings = json.dumps({"worker_max_tasks_per_child": 200})
    here.worker("shop@one", "-c", "2", ZENITH_URL=relay.url, SHOP_SETTINGS=settings, ZENITH_GUARD=guard)
    ids = []
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(here.run, "burst.py", str(MANY // 2), str(SENT_WITHIN), attached=False)
        eventually(lambda: record() and runs(here) >= MANY / 4, but=lambda: here.log[-4000:])
        relay.cut()
        ids += sending.result()
    ids += here.run("burst.py", str(MANY // 2), attached=False)
    time.sleep(AWAY)
    eventually(lambda: runs(here) >= MANY * 3 / 4, but=lambda: here.log[-4000:])
    record()
    assert Task.objects.filter(status="SUCCESS").count() < runs(here)
    relay.open()
    eventually(lambda: recorded(ids) == MANY, within=40, but=lambda: f"{recorded(ids)}\n{here.log[-4000:]}")
    assert runs(here) == MANY
    assert not client.client().hgetall(application_keys("shop").dropped)


def test_with_closed_claims_tasks_wait_for_zeniths_redis(shop: Callable[[str], Shop], relay: Relay) -> None:
    here = shop("5.7")
    relay.open()
    here.worker("shop@one", "-c", "1", ZENITH_URL=relay.url, ZENITH_GUARD="claims:closed")
    here.run("burst.py", "1", attached=False)
    eventually(lambda: runs(here) == 1, but=lambda: here.log[-4000:])
    relay.cut()
    ids = [here.run("sends.py", "shop.parent", attached=False) for _ in range(2)]
    eventually(lambda: "Redis does not answer" in here.log, but=lambda: here.log[-4000:])
    assert runs(here) == 1
    relay.open()
    eventually(lambda: recorded(ids) == 2, within=40, but=lambda: here.log[-4000:])
    # Each sends another one.
    eventually(lambda: runs(here) == 5, but=lambda: here.log[-4000:])


def runs(here: Shop) -> int:
    return int(here.read("LLEN", "shop:runs"))


def test_a_worker_that_starts_while_zeniths_redis_is_away_is_attached_once_it_is_back(
    shop: Callable[[str], Shop], relay: Relay
) -> None:
    here = shop("5.3")
    here.worker("shop@one", "-c", "1", ZENITH_URL=relay.url)
    ids = here.run("burst.py", "20", ZENITH_URL=relay.url)
    relay.open()
    eventually(lambda: heartbeat.read_all("shop"), within=40)
    # Those that the sender reported went with it: the worker reports their origin as well.
    eventually(lambda: recorded(ids) == 20, within=40, but=lambda: here.log[-4000:])
    assert set(Task.objects.values_list("name", "args__1")) == {("shop.add", 1)}


def test_without_a_url_a_worker_runs_as_if_nothing_were_there(shop: Callable[[str], Shop]) -> None:
    here = shop("5.7")
    here.worker("shop@one", "-c", "1", ZENITH_URL="")
    here.run("burst.py", "3", attached=False)
    assert "ZENITH_URL is not set" in here.log
    assert not client.client().keys("*")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ZENITH_URL": "amqp://somewhere"}, "ZENITH_URL must be the URL of Zenith's Redis"),
        ({"ZENITH_APPLICATION": "Shop North"}, "ZENITH_APPLICATION='Shop North'"),
        ({"ZENITH_APPLICATION": "zenith"}, "the name of Zenith's own application"),
        ({"ZENITH_GUARD": "claims,locks"}, "there is no guard 'locks'"),
        ({"ZENITH_TASK_LOGS": "loud"}, "ZENITH_TASK_LOGS='loud': it takes debug, info, warning, error, off"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_named(shop: Callable[[str], Shop], changes: dict[str, str], reason: str) -> None:
    here = shop("5.7")
    worker = here.worker("shop@one", "-c", "1", **changes)
    assert eventually(lambda: worker.poll() is not None)
    assert reason in here.log
    assert "Traceback" not in here.log


def test_an_application_with_a_redis_user_of_its_own_reports_all_that_it_did(shop: Callable[[str], Shop]) -> None:
    url = add("shop")
    here = shop("5.7")
    worker = here.worker("shop@one", "-c", "2", ZENITH_URL=url, ZENITH_GUARD="claims,recovery,retries")
    ids = here.run("burst.py", "20", ZENITH_URL=url)
    telling = [here.run("sends.py", name, ZENITH_URL=url) for name in ("shop.confidential", "shop.tells")]
    eventually(lambda: recorded(ids + telling) == 22, but=lambda: here.log[-4000:])
    eventually(lambda: len(logged(telling[1])) == 3)
    assert logged(telling[1]) == ["an order with password=***", "of Celery's logger", "printed"]
    assert logged(telling[0]) == []
    assert "an order with password=hunter2" in here.log, "its own log is its own"
    row = Application.objects.get(name="shop")
    assert (row.isolated, row.main) == (True, "shop")
    assert [beat.name for beat in heartbeat.read_all("shop")] == ["shop@one"]
    worker.terminate()
    eventually(lambda: not heartbeat.read_all("shop"), within=40)
    assert "NoPermission" not in here.log
    assert "runs unclaimed" not in here.log
    told = ("of Celery's logger", "printed", "confidential")
    assert not [line for line in here.log.splitlines() if "WARNING" in line and not line.endswith(told)]
