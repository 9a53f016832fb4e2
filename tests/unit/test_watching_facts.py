"""What an observer concludes: settings from a worker's answers, and its clock and its events from how heartbeats arrive."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.schedules import crontab, schedule
from celery.worker import control
from kombu import Queue

from tasks_app.watching import evidence
from tasks_app.watching.evidence import Evidence
from tasks_app.watching.heard_workers import HeardWorkers
from tasks_app.watching.redis_health import RedisHealth, ask
from tasks_app.watching.told_settings import OPTIONS, TASKS_KEPT, TaskOptions, Told, told
from tests.celery_apps import app_alone
from zenith_worker.settings_told import settings_of
from zenith_worker.wire.worker_settings import Schedule, WorkerSettings

SECRET = "correct-horse"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    return app_alone(monkeypatch, "shop", broker=f"redis://:{SECRET}@127.0.0.1:1/0")


def nothing() -> None:
    """The body of a task."""


def answers(app: Celery) -> Told:
    """What a worker of this app answers, as Celery's own functions make it."""
    state = SimpleNamespace(app=app)
    conf, registered = control.conf(state, with_defaults=True), control.registered(state, taskinfoitems=list(OPTIONS))
    found = told(conf, registered, is_redis=str(app.conf.broker_url).startswith("redis"))
    assert found is not None
    return found


def test_what_a_worker_answers_is_what_it_would_tell_itself(app: Celery) -> None:
    app.conf.update(
        result_backend=f"redis://:{SECRET}@127.0.0.1:1/1", result_expires=timedelta(days=1, seconds=2.5), task_soft_time_limit=60,
        broker_transport_options={"visibility_timeout": 60, "priority_steps": [0, 5], "sentinel_kwargs": {"password": SECRET}},
        beat_schedule={
            "tidy": {"task": "shop.tidy", "schedule": timedelta(minutes=5), "args": [SECRET]},
            "nightly": {"task": "shop.night", "schedule": crontab(hour="3", minute={1, 2}, day_of_week="mon")},
            "often": {"task": "shop.often", "schedule": 0.5}, "hourly": {"task": "shop.hourly", "schedule": schedule(3600)},
        },
    )  # fmt: skip
    app.task(name="shop.late", acks_late=True, time_limit=5)(nothing)
    app.task(name="shop.slow", rate_limit="1/m", time_limit=7)(nothing)
    app.task(name="shop.odd [name]")(nothing)
    found, itself = answers(app), settings_of(app)
    assert itself is not None
    assert found.settings.schedules == (
        Schedule("tidy", "shop.tidy", 300.0), Schedule("nightly", "shop.night", None, "1,2 3 * * mon"),
        Schedule("often", "shop.often", 0.5), Schedule("hourly", "shop.hourly", 3600.0),
    )  # fmt: skip
    assert found.settings.sent_events is False
    assert (found.settings.time_limit, found.settings.soft_time_limit) == (None, 60.0)
    for name in ("broker", "visibility_timeout", "priority_steps", "acks_late", "time_limit", "soft_time_limit", "schedules",
                 "prefetch_multiplier", "result_expires", "timezone", "queue_type", "max_priority"):  # fmt: skip
        assert getattr(found.settings, name) == getattr(itself, name), name
    assert found.tasks == {
        "shop.late": TaskOptions("", True, 5.0, 60.0), "shop.slow": TaskOptions("1/m", False, 7.0, 60.0),
        "shop.odd [name]": TaskOptions("", False, None, 60.0),
    }  # fmt: skip
    assert SECRET not in repr(found)


def test_rate_limits_that_are_off_are_none(app: Celery) -> None:
    app.conf.worker_disable_rate_limits = True
    app.task(name="shop.slow", rate_limit="1/m")(nothing)
    found = answers(app)
    assert found.tasks == {"shop.slow": TaskOptions("", False)}
    assert found.with_tasks(["shop.slow [rate_limit=1/m acks_late=True]"]).tasks == {"shop.slow": TaskOptions("", True)}


@pytest.mark.parametrize(
    ("queues", "kind"),
    [(None, "classic"), ([Queue("a", queue_arguments={"x-queue-type": "quorum"})], "quorum"), ([Queue("a")], "classic"),
     ([Queue("a"), Queue("b", queue_arguments={"x-queue-type": "quorum"})], "")],
)  # fmt: skip
def test_how_queues_of_rabbitmq_are_declared(monkeypatch: pytest.MonkeyPatch, queues: Any, kind: str) -> None:
    app = app_alone(monkeypatch, "shop", broker="amqp://127.0.0.1:1//")
    app.conf.update(task_queues=queues, task_queue_max_priority=10)
    found = answers(app).settings
    assert (found.broker, found.queue_type, found.max_priority, found.visibility_timeout) == ("amqp", kind, 10, None)


@pytest.mark.parametrize("conf", [None, [], "conf", 7, {"error": "no"}])
def test_a_worker_that_does_not_tell_its_settings_tells_none(conf: Any) -> None:
    found = told(conf, ["shop.add"], is_redis=True)
    assert found is None or found.settings == WorkerSettings(
        broker="redis", visibility_timeout=3600.0, priority_steps=(0, 3, 6, 9), timezone="UTC"
    )


def test_odd_answers_are_left_out_one_by_one() -> None:
    conf = {
        "broker_transport_options": {"visibility_timeout": "soon", "priority_steps": [1, "x"]}, "task_time_limit": "long",
        "beat_schedule": {"a": 7, "b": {"task": 7, "schedule": 1}, "c": {"task": "shop.c", "schedule": "<freq: . days>"},
                          "d": {"task": "shop.d", "schedule": "<crontab: 1 2 3 (m/h/dM/MY/d)>"}, "e" * 300: {"task": "x"}},
        "result_backend": "redis://", "result_expires": "yesterday", "timezone": {"zone": 1}, "task_send_sent_event": "yes",
        "worker_prefetch_multiplier": -1, "task_queues": "all",
    }  # fmt: skip
    found = told(
        conf, ["shop.a [rate_limit=]", 7, "", "x" * 2000, "shop.b [time_limit=inf? acks_late=]", "shop.c [no=1]"], is_redis=True
    )
    assert found is not None
    assert found.settings == WorkerSettings(
        broker="redis", schedules=(Schedule("c", "shop.c", None), Schedule("d", "shop.d", None))
    )
    assert found.tasks == {"shop.a": TaskOptions(), "shop.b": TaskOptions(), "shop.c [no=1]": TaskOptions()}
    assert told({}, ["shop.a"] * (TASKS_KEPT + 1), is_redis=True) == Told(WorkerSettings(
        broker="redis", visibility_timeout=3600.0, priority_steps=(0, 3, 6, 9), timezone="UTC"), None)  # fmt: skip


def test_an_answer_that_is_made_to_take_long_does_not() -> None:
    hostile = ["shop.x [" + "a=" * 480, "shop.y [" + "acks_late=" * 90 + "]"]
    crontab_like = {"task": "x", "schedule": f"<crontab: {'{[(' * 130} (m/h/dM/MY/d)>"}
    conf = {"beat_schedule": {str(number): crontab_like for number in range(50)}}
    assert told(conf, hostile * 2000, is_redis=True) is not None


# --- What follows from how events arrive ---


def test_a_worker_whose_heartbeats_count_tasks_that_are_never_told_sends_no_events() -> None:
    worker = Evidence(since=0.0)
    for at in range(0, 40, 2):
        worker.take_heartbeat(at, at // 10, at, waited=False)
    assert worker.sends_events(40.0) is False
    worker.take_task(41.0)
    assert worker.sends_events(60.0) is True


def test_without_tasks_nobody_knows_whether_a_worker_sends_events() -> None:
    worker = Evidence(since=0.0)
    for at in range(0, 100, 2):
        worker.take_heartbeat(at, 7, at, waited=False)
    assert worker.sends_events(100.0) is None


@pytest.mark.parametrize(
    "heartbeats",
    [
        [(0, 0), (2, 5), (4, 9), (18, 9), (20, 9), (22, 9)],  # before it was asked to send events
        [(20, 0), (22, 0), (60, 9), (62, 9)],  # some were not heard
        [(20, 9), (22, 0), (24, 0)],  # another run
        [(20, None), (22, 9), (24, None)],
    ],
)
def test_a_rise_that_may_have_another_reason_is_no_evidence(heartbeats: list[tuple[float, int | None]]) -> None:
    worker = Evidence(since=0.0)
    for at, processed in heartbeats:
        worker.take_heartbeat(at, processed, at, waited=False)
    assert worker.sends_events(heartbeats[-1][0] + evidence.LATEST + 1) is None


def test_a_clock_is_judged_by_the_heartbeat_that_was_quickest() -> None:
    worker = Evidence(since=0.0)
    for at, delay in ((10.0, 4.0), (12.0, 0.1), (14.0, 2.0)):
        worker.take_heartbeat(at, 0, at - delay - 60, waited=False)
        worker.take_heartbeat(at, 0, at - 500, waited=True)
    assert worker.clock_ahead(15.0) == pytest.approx(-60.1)
    assert worker.clock_ahead(15.0 + evidence.SAMPLES_FOR) is None
    assert Evidence(since=0.0).clock_ahead(0.0) is None


def heartbeat(at: float, pid: int = 7, **more: Any) -> dict[str, Any]:
    return {"type": "worker-heartbeat", "hostname": "shop@one", "timestamp": at, "pid": pid, "freq": 2.0, **more}


def test_another_run_under_the_same_name_has_told_nothing() -> None:
    workers = HeardWorkers()
    workers.note(heartbeat(1000.0), 1000.0)
    assert workers.to_ask(1000.0, 10) == {"shop@one": None}
    assert workers.to_ask(1001.0, 10) == {}
    workers.take_settings(
        {"shop@one": Told(WorkerSettings(time_limit=5.0), {"shop.add": TaskOptions()}), "shop@two": Told(WorkerSettings(), {})}
    )
    assert workers.tasks(1002.0) == [{"shop.add": TaskOptions()}]
    assert workers.to_ask(1019.0, 10) == {}
    workers.note(heartbeat(1002.0, pid=8), 1002.0)
    assert workers.tasks(1003.0) == [None]
    assert workers.to_ask(1003.0, 10) == {"shop@one": None}
    assert workers.tasks(1100.0) == []
    assert workers.to_ask(1100.0, 10) == {}


def test_workers_with_the_same_code_share_what_they_have() -> None:
    workers = HeardWorkers()
    for number in range(3):
        workers.note({**heartbeat(1000.0), "hostname": f"shop@{number}"}, 1000.0)
        workers.take_settings({f"shop@{number}": Told(WorkerSettings(), {"shop.add": TaskOptions()})})
    assert len(workers.tasks(1001.0)) == 1


# --- What a Redis says ---


class Answering:
    """A Redis client whose user may not use some commands."""

    def __init__(self, info: dict[str, dict[str, Any]], save: str | None) -> None:
        self._info, self._save = info, save

    def info(self, section: str) -> dict[str, Any]:
        if section not in self._info:
            raise redis.exceptions.NoPermissionError("info")
        return self._info[section]

    def config_get(self, name: str) -> dict[str, str]:
        if self._save is None:
            raise redis.exceptions.NoPermissionError("config|get")
        return {name: self._save}


MEMORY = {"maxmemory_policy": "noeviction", "used_memory": 5, "maxmemory": 0}


@pytest.mark.parametrize(
    ("info", "save", "persistent", "refused"),
    [
        ({"memory": MEMORY, "persistence": {"aof_enabled": 1}}, None, True, ()),
        ({"memory": MEMORY, "persistence": {"aof_enabled": 0}}, "3600 1", True, ()),
        ({"memory": MEMORY, "persistence": {"aof_enabled": 0}}, "", False, ()),
        ({"memory": MEMORY, "persistence": {"aof_enabled": 0}}, None, None, ("CONFIG GET",)),
        ({"memory": MEMORY}, "", None, ("INFO",)),
        ({}, None, None, ("INFO", "CONFIG GET")),
    ],
)
def test_what_a_redis_does_not_say_is_not_known(
    info: dict[str, dict[str, Any]], save: str | None, persistent: bool | None, refused: tuple[str, ...]
) -> None:
    health: RedisHealth = ask(Answering(info, save))  # type: ignore[arg-type]
    assert (health.persistent, health.refused) == (persistent, refused)
    assert health.eviction == ("noeviction" if "memory" in info else None)


def test_names_that_are_none_are_not_among_workers_whatever_they_answer() -> None:
    workers = HeardWorkers()
    odd = {name: {"stats": {"prefetch_count": 4}} for name in ("", "a\x00", "b\ud800", "c" * 300, "d\n@\N{SNOWMAN}")}
    workers.take_answers({**odd, "e": {"stats": 7, "active_queues": [{"name": {}}, 7], "held": "x"}}, 1000.0, every=15.0)
    assert workers.names() == ["d\n@\N{SNOWMAN}", "e"]
