"""Celery settings of one's own are taken over; what Zenith must own, and what Celery does not know, is refused by name."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from kombu import Queue

from zenith_site.celery_config import load
from zenith_site.env import Environment, WrongSetting


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module without anything."""
    made = ModuleType("somebodys_celeryconfig")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def config(module: ModuleType, **names: Any) -> dict[str, Any]:
    vars(module).update(names)
    return load(module.__name__)


def test_without_a_module_nothing_is_set() -> None:
    assert load("") == {}


def test_routes_queues_serializers_and_schedules_are_anybodys_choice(module: ModuleType) -> None:
    mine: dict[str, Any] = {
        "task_routes": {"shop.*": {"queue": "shop"}}, "accept_content": ["json", "yaml"], "beat_schedule": {},
        "task_acks_late": False, "task_annotations": {"*": {"rate_limit": "10/s"}},
    }  # fmt: skip
    helpers = {"os": sys, "_private": 1, "helper": lambda: None, "Queue": Environment}
    assert config(module, **mine, **helpers) == mine


@pytest.mark.parametrize(
    "settings",
    [
        {"task_default_queue": "unacked"}, {"task_queues": [Queue("default"), Queue("unacked")]},
        {"task_routes": {"shop.*": {"queue": "unacked"}}}, {"task_routes": [{"shop.*": "unacked"}]},
    ],
)  # fmt: skip
def test_a_route_to_a_key_that_is_no_queue_is_refused(module: ModuleType, settings: dict[str, Any]) -> None:
    with pytest.raises(WrongSetting, match="No queue may be called 'unacked'"):
        config(module, **settings)


def test_routes_that_cannot_be_read_are_taken_as_they_are(module: ModuleType) -> None:
    mine: dict[str, Any] = {"task_routes": ["shop.routes.choose", {"a": {"routing_key": "x"}}], "task_queues": {"mail": {}}}
    assert config(module, **mine) == mine


@pytest.mark.parametrize("name", ["broker_url", "broker_transport_options", "result_backend", "imports", "redis_socket_timeout"])
def test_what_zenith_must_own_is_refused_by_name(module: ModuleType, name: str) -> None:
    with pytest.raises(WrongSetting, match=f"{name} is Zenith's own setting"):
        config(module, **{name: "x"})


@pytest.mark.parametrize("name", ["task_routs", "CELERY_TASK_ROUTES"])
def test_a_name_that_celery_does_not_know_is_refused_with_the_nearest(module: ModuleType, name: str) -> None:
    with pytest.raises(WrongSetting, match=f"no setting {name}; did you mean task_routes?"):
        config(module, **{name: {}})


def test_a_module_that_cannot_be_imported_is_refused() -> None:
    with pytest.raises(WrongSetting, match=r"ZENITH_CELERY_CONFIG='no\.such\.module' is not accepted: it cannot be imported"):
        load("no.such.module")


def test_a_variable_by_which_celery_would_take_another_broker_is_refused_without_its_password() -> None:
    with pytest.raises(WrongSetting, match="is not accepted: unset it") as caught:
        Environment({"CELERY_BROKER_URL": "redis://:hunter2@elsewhere/0"}).unset("CELERY_BROKER_URL", "unset it")
    assert "hunter2" not in str(caught.value)
