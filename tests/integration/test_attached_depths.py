"""How many messages wait in an attached application's queues: counted by its workers, shown with its age, and never guessed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from django.test import Client
from django.utils import timezone

from tasks_app.metrics import applications as metrics
from tasks_app.models import Application, Task
from tests.celery_apps import app_alone
from tests.integration.conftest import ApiClient
from tests.integration.test_metrics import samples
from tests.rollups import ended
from zenith_worker.queue_depths import QueueDepths
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client
from zenith_worker.wire.heartbeat import About, Depth
from zenith_worker.wire.keys import application_keys

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = application_keys("shop")
URL = os.environ["REDIS_URL"]
BROKER = f"{URL[: -len(urlsplit(URL).path)]}/9"


@pytest.fixture(autouse=True)
def shop(monkeypatch: pytest.MonkeyPatch) -> Application:
    client().flushdb()
    redis.Redis.from_url(BROKER).flushdb()
    monkeypatch.setattr(metrics, "lifetime", metrics.ApplicationsLifetime())
    return Application.objects.create(name="shop", kind="attached")


# --- The worker ---


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Celery]]:
    made: list[Celery] = []

    def make(broker: str = BROKER, **settings: Any) -> Celery:
        made.append(app_alone(monkeypatch, "shop", broker=broker))
        made[-1].conf.update(settings)
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_redis_is_counted_as_the_application_uses_it(app: Callable[..., Celery]) -> None:
    options = {"global_keyprefix": "till:", "priority_steps": [0, 5], "queue_order_strategy": "priority"}
    shop = app(broker_transport_options=options)
    for priority in (0, 0, 7):
        shop.send_task("shop.add", queue="tills", priority=priority)
    store = redis.Redis.from_url(BROKER)
    store.set("till:odd", "no list")
    store.lpush("tills", "of somebody else")
    depths = QueueDepths(shop, lambda: ["tills", "empty", "odd", *(f"q{number}" for number in range(300))])
    assert depths.told == ([], None), "not counted yet"
    assert depths.count()
    found, age = depths.told
    assert found[:2] == [Depth("tills", 3), Depth("empty", 0)]
    assert len(found) == 199, "two hundred are asked for, and one holds something else"
    assert age is not None
    depths._disconnect()


def test_of_another_transport_nothing_is_told_and_a_broker_that_is_away_is_asked_again(app: Callable[..., Celery]) -> None:
    depths = QueueDepths(app("memory://"), lambda: ["tills"])
    assert not depths.count()
    assert depths.told == ([], None)
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        QueueDepths(app("redis://127.0.0.1:1/0"), lambda: ["tills"]).count()


# --- The server ---


def beat(name: str, *depths: tuple[str, int], age: float | None = 1.0, queues: tuple[str, ...] = ("tills",)) -> None:
    about = About(catalogue="d", depths=[Depth(*pair) for pair in depths], depths_age=age)
    heartbeat.write(name, slots=4, busy=0, queues=queues, application="shop", about=about)


def test_what_an_application_tells_is_checked_and_an_odd_depth_hides_nothing() -> None:
    beat("celery@till")
    raw = json.loads(client().get(f"{KEYS.worker}celery@till") or b"")
    odd = [["a", 1], ["b", -1], ["c", True], ["\ud800", 1], [1, 1], "d", ["e", 2, 3], ["f", 2**60], None]
    client().set(f"{KEYS.worker}celery@till", json.dumps({**raw, "depths": odd + [["x", 1]] * 1000}), keepttl=True)
    (found,) = heartbeat.read_all("shop")
    assert set(found.depths) == {Depth("a", 1), Depth("x", 1)}
    assert len(found.depths) <= heartbeat.DEPTHS_AT_MOST


def test_the_newest_count_of_the_workers_online_is_shown_and_none_is_unknown(person: Client, api: ApiClient) -> None:
    beat("celery@till-1", ("tills", 7), age=20.0)
    beat("celery@till-2", ("tills", 1234), ("<b>odd</b>", 5), age=2.0)
    beat("celery@gone", ("tills", 99), age=0.0)
    client().pexpire(f"{KEYS.worker}celery@gone", int((heartbeat.KEPT - 10) * 1000))
    beat("celery@silent", ("silent", 3), age=None, queues=("silent",))
    page = person.get("/queues/?application=shop").content.decode()
    assert page.index("tills</a>") < page.index("silent</a>"), "the longest first"
    assert '<span title="1234">' in page
    assert "unknown" in page
    file = b"".join(person.get("/queues/?application=shop&format=csv").streaming_content)
    assert file.splitlines()[1].startswith(b"tills,1234,")
    rows = {row["name"]: row for row in api("read").get("/api/v1/queues?application=shop").json()}
    assert set(rows) == {"tills", "silent", "<b>odd</b>"}
    assert (rows["tills"]["depth"], rows["tills"]["application"], rows["tills"]["unacknowledged"]) == (1234, "shop", None)
    assert 2 <= rows["tills"]["depth_age_seconds"] < 10
    assert (rows["silent"]["depth"], rows["silent"]["depth_age_seconds"]) == (None, None)
    assert api("read").get("/api/v1/queues/tills?application=shop").json()["depth"] == 1234


def test_programs_get_them_page_by_page_and_only_of_what_they_may_see(api: ApiClient) -> None:
    beat("celery@till", ("a", 1), ("b", 2), ("c", 3))
    names, path = [], "/api/v1/queues?application=shop&limit=2"
    while path:
        answer = api("read").get(path)
        names += [row["name"] for row in answer.json()]
        path = answer.headers.get("Link", "").partition(">")[0].partition("testserver")[2]
    assert names == ["a", "b", "c", "tills"]
    assert [row["name"] for row in api("read").get("/api/v1/queues?application=shop&q=TILL").json()] == ["tills"]
    for path in ("/api/v1/queues?application=nothing", "/api/v1/queues/tills?application=nothing"):
        assert api("read").get(path).status_code == 404
    assert api("read").get("/api/v1/queues/unheard?application=shop").status_code == 404
    assert api("read").get("/api/v1/queues/tills/messages?application=nothing").status_code == 404
    assert all(row["application"] == "zenith" for row in api("read").get("/api/v1/queues").json())


# --- Metrics ---


def test_attached_applications_have_metrics_of_their_own_and_change_none_of_zeniths(
    shop: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(time.time(), name="own", succeeded=2)
    ended(time.time(), name="theirs", succeeded=3, failed=1, application_id=shop.pk)
    for status in ("QUEUED", "QUEUED", "STARTED"):
        Task.objects.create(name="t", queue="q", status=status, source="api", created_at=timezone.now(), application_id=shop.pk)
    beat("celery@till", ("a", 1), ("b", 2), ("c", 3))
    monkeypatch.setattr(metrics, "MAX_QUEUES", 2)
    found = samples()

    def of(name: str, **labels: str) -> float:
        return found[f"zenith_application_{name}", tuple(sorted({"application": "shop", **labels}.items()))]

    assert (of("tasks_finished_total", outcome="succeeded"), of("tasks_finished_total", outcome="failed")) == (3, 1)
    assert (of("tasks_open", status="QUEUED"), of("tasks_open", status="STARTED"), of("tasks_open", status="RETRY")) == (2, 1, 0)
    assert (of("queue_depth", queue="c"), of("queue_depth", queue="b"), of("queue_depth", queue="(other)")) == (3, 2, 1)
    assert of("workers_online") == 1
    own = {labels for name, labels in found if name == "zenith_tasks_finished_total"}
    assert {dict(labels)["task"] for labels in own} == {"own"}
    assert not [labels for name, labels in found if name == "zenith_queue_depth" and ("queue", "a") in labels]
