"""What an attached worker tells of its tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, Task

from tests.celery_apps import app_alone
from zenith_worker import catalogue
from zenith_worker.catalogue import tasks_of
from zenith_worker.wire import catalogues

if TYPE_CHECKING:
    from nowhere import Something

#: A default that is not JSON.
ODD: Any = object()
ANYTHING = [
    {"name": "args", "kind": "var_positional", "required": False, "schema": {}},
    {"name": "kwargs", "kind": "var_keyword", "required": False, "schema": {}},
]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """An application that connects to nothing."""
    return app_alone(monkeypatch, "shop", broker="memory://")


def nothing() -> None:
    """A task's body."""


def parameters(app: Celery) -> dict[str, Any]:
    (task,) = tasks_of(app).values()
    return {parameter.pop("name"): parameter for parameter in task["parameters"]}


def test_a_task_is_told_with_all_that_a_form_needs(app: Celery) -> None:
    @app.task(name="shop.pack", shared=False, bind=True, max_retries=5, queue="parcels", autoretry_for=(ValueError,))
    def pack(self: Task, order: int, /, box: str = "small", *more: int, odd: Something = ODD, **rest: Any) -> None:
        """Pack an order.

        Twice.
        """

    (told,) = tasks_of(app).values()
    assert told == {
        "doc": "Pack an order.\n\nTwice.", "queue": "parcels", "max_retries": 5, "drill": False,
        "parameters": [
            {"name": "order", "kind": "positional_only", "required": True, "schema": {"type": "integer"}},
            {"name": "box", "kind": "positional_or_keyword", "required": False, "schema": {"type": "string"}, "default": "small"},
            {"name": "more", "kind": "var_positional", "required": False, "schema": {"type": "integer"}},
            {"name": "odd", "kind": "keyword_only", "required": False, "schema": {}},
            {"name": "rest", "kind": "var_keyword", "required": False, "schema": {}},
        ],
    }  # fmt: skip
    assert {parameter["kind"] for parameter in told["parameters"]} == set(catalogues.KINDS)
    assert "parcels" not in app.amqp.queues, "the worker may consume what is in there"


def test_only_defaults_that_are_json_and_small_are_told(app: Celery) -> None:
    @app.task(shared=False)
    def defaults(none=None, text="x" * 600, nan=float("nan"), pair=(1, 2), items=[1]) -> None:  # type: ignore[no-untyped-def] # noqa: B006
        pass

    assert {name: parameter.get("default", "untold") for name, parameter in parameters(app).items()} == {
        "none": None, "text": "untold", "nan": "untold", "pair": "untold", "items": [1],
    }  # fmt: skip


def test_a_default_is_allowed_whatever_the_annotation_says(app: Celery) -> None:
    class Odd(dict):  # type: ignore[type-arg]
        def values(self) -> Any:
            raise RuntimeError

    odd_default = Odd(a=1)

    @app.task(shared=False)
    def defaults(amount: int = None, names: Iterable[str] = (), odd: dict[str, int] = odd_default) -> None:  # type: ignore[assignment] # noqa: RUF013
        pass

    assert {name: parameter["schema"] for name, parameter in parameters(app).items()} == {
        "amount": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "names": {"type": ["array", "string", "object"], "items": {"type": "string"}},
        "odd": {},
    }


def test_routes_decide_the_queue_and_may_need_arguments(app: Celery) -> None:
    def by_arguments(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
        return {"queue": f"customer-{args[0]}"} if name == "shop.by_customer" else None

    app.conf.task_routes = [by_arguments, {"shop.slow": {"queue": "slow"}}]
    for name in ("shop.by_customer", "shop.slow", "shop.plain"):
        app.task(name=name, shared=False)(nothing)
    queues = {name: task["queue"] for name, task in tasks_of(app).items()}
    assert queues == {"shop.by_customer": None, "shop.slow": "slow", "shop.plain": "celery"}


def test_what_cannot_be_read_of_a_task_is_left_out(app: Celery) -> None:
    class Own(Task):
        """A class of its own."""

        name = "shop.own"
        max_retries = None

        def run(self, x: int) -> None:
            pass

    app.register_task(Own())
    app.register_task(type("Builtin", (Task,), {"name": "shop.builtin", "run": print.__call__, "max_retries": "many"})())
    app.register_task(type("Broken", (Task,), {"name": "shop.broken", "run": property(lambda _: 1 / 0)})())
    told = tasks_of(app)
    assert told["shop.own"]["doc"] == "A class of its own."
    assert [parameter["name"] for parameter in told["shop.own"]["parameters"]] == ["x"]
    assert (told["shop.own"]["max_retries"], told["shop.builtin"]["max_retries"]) == (None, None)
    assert told["shop.broken"]["parameters"] == ANYTHING
    assert "celery.chord" not in told
    json.dumps(told)


def test_what_zenith_puts_into_the_messages_of_its_own_tasks_is_told_if_it_is_set(app: Celery) -> None:
    app.task(name="a", shared=False)(nothing)
    app.task(name="b", shared=False, ignore_result=True, time_limit=9.5, soft_time_limit=7)(nothing)
    app.task(name="c", shared=False, time_limit=timedelta(seconds=3), soft_time_limit=0)(nothing)
    told = tasks_of(app, with_message_options=True)
    plain = tasks_of(app)
    assert told["b"] == {**plain["b"], "ignore_result": True, "time_limit": 9.5, "soft_time_limit": 7}
    assert (told["a"], told["c"]) == (plain["a"], plain["c"])
    assert plain["a"] == {"doc": "A task's body.", "queue": "celery", "max_retries": 3, "drill": False, "parameters": []}


def test_too_large_a_catalogue_loses_its_descriptions_first(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        app.task(name=f"shop.{number}", shared=False)(nothing)
    tasks = {name: {**task, "doc": "x" * 1000} for name, task in tasks_of(app).items()}
    monkeypatch.setattr(catalogues, "JSON_AT_MOST", 5000)
    digest, written = catalogue._written(tasks)
    assert {task["doc"] for task in json.loads(written).values()} == {""}
    assert digest
    monkeypatch.setattr(catalogues, "TASKS_AT_MOST", 9)
    assert catalogue._written(tasks) == ("", "")
    assert "Zenith gets no catalogue of these 10 tasks" in caplog.text
