"""What a worker tells of its settings, as Celery and kombu have them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import Celery
from celery.schedules import crontab

from tests.celery_apps import app_alone
from zenith_worker.settings_told import settings_of
from zenith_worker.wire.worker_settings import Schedule


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    return app_alone(monkeypatch, "shop", broker="redis://:secret@127.0.0.1:1/0")


def nothing() -> None:
    """The body of a task."""


def test_a_fresh_app_has_celerys_defaults(app: Celery) -> None:
    told = settings_of(app)
    assert told is not None
    assert (told.broker, told.visibility_timeout, told.priority_steps) == ("redis", 3600.0, (0, 3, 6, 9))
    assert (told.acks_late, told.time_limit, told.prefetch_multiplier) == (False, None, 4)
    assert (told.result_expires, told.schedules, told.queue_type, told.max_priority) == (None, (), "", None)
    assert "secret" not in repr(told)


def test_what_is_set_is_told(app: Celery) -> None:
    app.conf.update(
        task_acks_late=True, task_time_limit=60, worker_prefetch_multiplier=0, result_backend="redis://127.0.0.1:1/1",
        result_expires=timedelta(hours=1), broker_transport_options={"visibility_timeout": 60, "priority_steps": [0, 5]},
        beat_schedule={
            "tidy": {"task": "shop.tidy", "schedule": timedelta(minutes=5)}, "odd": {"task": None},
            "nightly": {"task": "shop.night", "schedule": crontab(hour="3", day_of_month={2, 1})},
            "often": {"task": "shop.often", "schedule": 0.5},
        },
    )  # fmt: skip
    told = settings_of(app)
    assert told is not None
    assert (told.visibility_timeout, told.priority_steps, told.acks_late, told.time_limit) == (60.0, (0, 5), True, 60.0)
    assert (told.prefetch_multiplier, told.result_expires, told.timezone) == (0, 3600.0, "UTC")
    assert told.schedules == (
        Schedule("tidy", "shop.tidy", 300.0), Schedule("nightly", "shop.night", None, "* 3 1,2 * *"),
        Schedule("often", "shop.often", 0.5)
    )  # fmt: skip


def test_a_limit_counts_only_if_every_task_has_one(app: Celery) -> None:
    app.task(name="shop.limited", time_limit=5)(nothing)
    told = settings_of(app)
    assert told is not None
    assert told.time_limit == 5.0
    settings_of.cache_clear()
    app.task(name="shop.late", acks_late=True)(nothing)
    told = settings_of(app)
    assert told is not None
    assert (told.time_limit, told.acks_late) == (None, True)


def test_rabbitmqs_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_alone(monkeypatch, "shop", broker="amqp://127.0.0.1:1//")
    app.conf.task_queue_max_priority = 10
    told = settings_of(app)
    assert told is not None
    assert (told.broker, told.max_priority, told.queue_type, told.visibility_timeout) == ("amqp", 10, "classic", None)


def test_settings_that_cannot_be_read_are_not_told(app: Celery) -> None:
    app.conf.broker_transport_options = {"visibility_timeout": "soon"}
    assert settings_of(app) is None
