"""Logs that programs read: one id from the request through its task's worker."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.publish import publish_due
from tasks_app.models import Task
from tests import stack as stacks
from tests.waiting import eventually
from zenith_site.logs import JsonFormatter, TextFormatter
from zenith_worker.wire import correlation, stream
from zenith_worker.wire.messages import keys_of

pytestmark = pytest.mark.django_db(transaction=True)


def line(record: logging.LogRecord) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return written


def record(message: str, *arguments: object, failed: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if failed else None
    return logging.LogRecord("zenith", logging.WARNING, __file__, 1, message, arguments, info)


def test_a_line_is_one_object_without_what_is_empty() -> None:
    written = line(record('%s\nis "quoted"', "this"))
    assert written.pop("time").endswith("+00:00")
    assert written == {"level": "WARNING", "logger": "zenith", "message": 'this\nis "quoted"'}
    assert "\n" not in JsonFormatter().format(record("two\nlines"))


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_half_a_surrogate_pair_can_be_written(formatter: logging.Formatter) -> None:
    assert rb"task \ud800" in formatter.format(record("task %s", "\ud800")).encode()


def test_a_line_says_which_request_and_task_it_belongs_to() -> None:
    tokens = correlation.request_id.set("r-1"), correlation.task.set(("t-1", "analyze_text"))
    try:
        written = line(record("x"))
    finally:
        correlation.request_id.reset(tokens[0])
        correlation.task.reset(tokens[1])
    assert (written["request_id"], written["task_id"], written["task_name"]) == ("r-1", "t-1", "analyze_text")


def test_a_line_for_people_ends_with_the_ids() -> None:
    formatter = TextFormatter("%(levelname)s %(message)s")
    assert formatter.format(record("alone")) == "WARNING alone"
    tokens = correlation.request_id.set("r-1"), correlation.task.set(("t-1", "analyze_text"))
    try:
        raise ValueError("no")
    except ValueError:
        lines = formatter.format(record("x", failed=True)).splitlines()
    finally:
        correlation.request_id.reset(tokens[0])
        correlation.task.reset(tokens[1])
    assert (lines[0], lines[-1]) == ("WARNING x [request=r-1 task=t-1]", "ValueError: no")


def test_an_exception_comes_with_its_traceback() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        assert "ValueError: no" in line(record("x", failed=True))["traceback"]


def test_an_answer_carries_the_id_that_came_or_a_new_one() -> None:
    assert Client().get("/login/", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    made = {Client().get("/login/").headers["X-Request-ID"] for _ in range(2)}
    assert len(made) == 2


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "a\tb", "ä"])
def test_what_a_log_could_not_hold_is_not_taken_over(given: str) -> None:
    taken = correlation.accept(given)
    assert taken != given
    assert correlation.accept(taken) == taken


def test_a_message_carries_the_id_of_the_request_that_sent_it(api: Any) -> None:
    stream.client().flushdb()
    body = {"task": "drill_sleep", "kwargs": {"seconds": 0}, "count": 1}
    answer = api().post("/tasks/trigger", body, content_type="application/json", headers={"X-Request-ID": "from-the-web"})
    assert answer.status_code == 200
    (message,) = stream.client().lrange(keys_of("default")[0], 0, -1)
    assert json.loads(message)["headers"]["zenith_request_id"] == "from-the-web"
    stream.client().flushdb()


@pytest.fixture(scope="module")
def zenith(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.Stack]:
    yield from stacks.running(
        tmp_path_factory.mktemp("logs"),
        ZENITH_LOG_FORMAT="json",
        ZENITH_LOG_LEVEL="debug",
        ZENITH_TASK_MODULES="tests.sample_tasks",
    )


def test_what_the_relay_sends_carries_the_id_of_the_request_that_dispatched_it(api: Any) -> None:
    stream.client().flushdb()
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    body = {"dispatches": [{"task": "drill_sleep", "kwargs": {"seconds": 0}, "not_before": later}]}
    answer = api().post("/api/v1/tasks", body, content_type="application/json", headers={"X-Request-ID": "asked-before"})
    assert answer.status_code == 201, answer.content
    Task.objects.update(not_before=timezone.now())
    assert publish_due() == 1
    (message,) = stream.client().lrange(keys_of("default")[0], 0, -1)
    assert json.loads(message)["headers"]["zenith_request_id"] == "asked-before"
    stream.client().flushdb()


def test_one_id_joins_web_worker_and_recorder(zenith: stacks.Stack, api: Any) -> None:
    engine, worker = zenith.engine(), zenith.worker("w@logs", concurrency=1)
    body = {"task": "drill_fail", "kwargs": {"times": -1, "message": "on purpose"}, "max_retries": 0, "count": 1}
    answer = api().post("/tasks/trigger", body, content_type="application/json", headers={"X-Request-ID": "joined-1"})
    (task_id,) = answer.json()["ids"]
    said = eventually(lambda: written(worker.output, f"Task drill_fail[{task_id}]"), but=lambda: worker.output)
    assert (said["request_id"], said["task_id"], said["task_name"]) == ("joined-1", task_id, "drill_fail")
    assert "on purpose" in said["traceback"]
    assert eventually(lambda: written(engine.output, f"Recorded steps of {task_id}"), but=lambda: engine.output)
    zenith.settle()


def written(output: str, message: str) -> dict[str, Any] | None:
    """The first line of a process's log whose message begins like that."""
    lines = (json.loads(text) for text in output.splitlines() if text.startswith("{"))
    return next((one for one in lines if one["message"].startswith(message)), None)
