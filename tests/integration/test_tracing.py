"""Traces by OpenTelemetry: one from the request to the end of its task, sent to a real receiver; nothing where nobody asks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tasks_app.models import Batch, Task
from tests import stack as stacks
from tests.processes import free_port
from tests.sinks import WebSink, web_sink
from tests.stack import Stack
from tests.waiting import eventually
from zenith_site.auth.tokens import create_token

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Seen:
    """A span that the receiver got."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool


def spans(sink: WebSink) -> list[Seen]:
    """All that it got so far."""
    found = []
    for posted in list(sink.posted):
        for group in ExportTraceServiceRequest.FromString(posted.body).resource_spans:
            resource = _members(group.resource.attributes)
            for span in (span for scope in group.scope_spans for span in scope.spans):
                found.append(
                    Seen(
                        resource["service.name"], span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                        _members(span.attributes), span.status.code == 2,
                    )
                )  # fmt: skip
    return found


def _members(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.fixture(scope="module")
def sink() -> Iterator[WebSink]:
    with web_sink() as running:
        running.status = 200
        yield running


@pytest.fixture(scope="module")
def module_stack(module_database: None, sink: WebSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink.port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    for stack in stacks.running(tmp_path_factory.mktemp("tracing"), ZENITH_TASK_MODULES="tests.sample_tasks", **where):
        stack.engine()
        stack.worker("first@traced", concurrency=1)
        yield stack


@pytest.fixture(autouse=True)
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    yield from stacks.settling(module_stack)


@pytest.fixture(scope="module")
def port(module_stack: Stack) -> int:
    port = free_port()
    module_stack.web(port)
    return port


@pytest.fixture
def web(port: int, admin: Any) -> Iterator[httpx.Client]:
    _, raw = create_token(admin, "traced", ("dispatch", "read"))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": raw}) as client:
        yield client


def trigger(web: httpx.Client, **body: Any) -> str:
    answer = web.post("/tasks/trigger", json={"count": 1, **body}, headers={"X-Request-ID": "traced-1"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["ids"][0])


def runs_of(sink: WebSink, task_id: str, count: int = 1) -> list[Seen]:
    """The spans of a task's runs, once there are so many."""
    return eventually(
        lambda: (
            len(found := [one for one in spans(sink) if one.attributes.get("messaging.message.id") == task_id]) == count and found
        ),
        but=lambda: spans(sink),
    )


def test_one_trace_goes_from_the_request_to_the_run_on_the_worker(web: httpx.Client, sink: WebSink) -> None:
    (run,) = runs_of(sink, trigger(web, task="drill_sleep", kwargs={"seconds": 0}))
    assert (run.service, run.name, run.failed) == ("zenith-worker", "run drill_sleep", False)
    assert (run.attributes["zenith.request_id"], run.attributes["zenith.state"]) == ("traced-1", "SUCCESS")
    asked_for = eventually(lambda: len(found := _of(sink, run.trace, "zenith-web")) == 3 and found)
    by_id = {one.id: one for one in asked_for}
    sent = by_id[run.parent]
    assert sent.name == "dispatch drill_sleep"
    asked = by_id[sent.parent]
    assert (asked.attributes["http.route"], asked.attributes["http.response.status_code"]) == (asked.name.partition(" ")[2], 200)
    assert (asked.parent, asked.attributes["zenith.request_id"]) == ("", "traced-1")
    assert {one.name for one in by_id.values()} == {asked.name, "dispatch drill_sleep", "publish"}


def _of(sink: WebSink, trace: str, service: str) -> list[Seen]:
    return [one for one in spans(sink) if one.trace == trace and one.service == service]


def test_a_callers_own_trace_goes_on(web: httpx.Client, sink: WebSink) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    web.headers["traceparent"] = f"00-{trace}-{parent}-01"
    (run,) = runs_of(sink, trigger(web, task="drill_sleep", kwargs={"seconds": 0}))
    assert run.trace == trace
    asked = eventually(lambda: next((one for one in _of(sink, trace, "zenith-web") if one.parent == parent), None))
    assert asked.name.startswith("POST ")


def test_every_attempt_is_a_span_of_the_same_trace_and_says_what_went_wrong(web: httpx.Client, sink: WebSink) -> None:
    task_id = trigger(web, task="drill_fail", kwargs={"times": 1, "message": "on purpose"}, max_retries=2)
    runs = sorted(runs_of(sink, task_id, 2), key=lambda one: one.attributes["zenith.attempt"])
    assert len({run.trace for run in runs}) == 1
    assert [(run.attributes["zenith.attempt"], run.attributes["zenith.state"], run.failed) for run in runs] == [
        (1, "RETRY", True), (2, "SUCCESS", False),
    ]  # fmt: skip


def test_what_the_relay_sends_later_belongs_to_the_request_that_dispatched_it(web: httpx.Client, sink: WebSink) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    answer = web.post(
        "/api/v1/tasks", json={"dispatches": [{"task": "drill_sleep", "kwargs": {"seconds": 0}, "not_before": soon}]},
        headers={"X-Request-ID": "later-1"},
    )  # fmt: skip
    assert answer.status_code < 300, answer.text
    task = Task.objects.get()
    headers = Batch.objects.get().headers
    assert headers["zenith_request_id"] == "later-1"
    (run,) = runs_of(sink, str(task.id))
    assert (run.attributes["zenith.request_id"], run.trace) == ("later-1", headers["traceparent"].split("-")[1])


def test_the_recorders_batches_are_spans(web: httpx.Client, sink: WebSink) -> None:
    trigger(web, task="drill_sleep", kwargs={"seconds": 0})
    recorded = eventually(lambda: next((one for one in spans(sink) if one.name == "record"), None))
    assert recorded.service == "zenith-engine"
    assert recorded.attributes["zenith.events"] >= 1


def test_files_and_health_checks_are_no_spans(web: httpx.Client, sink: WebSink) -> None:
    for path in ("/health", "/ready", "/metrics", "/static/css/base.css"):
        web.get(path)
    web.get("/tasks/all")
    eventually(lambda: any(one.attributes.get("url.path") == "/tasks/all" for one in spans(sink)))
    paths = {one.attributes.get("url.path", "") for one in spans(sink)}
    assert not {path for path in paths if path.startswith(("/health", "/ready", "/metrics", "/static"))}


def test_a_receiver_that_is_away_costs_nothing_but_spans(
    module_database: None, transactional_db: None, tmp_path: Path, admin: Any
) -> None:
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    for stack in stacks.running(tmp_path, **where):
        stack.engine("engine-2")
        worker = stack.worker("second@traced", "-Q", "untraced", concurrency=1)
        command = ("manage.py", "dispatch", "drill_sleep", "--count", "3", "--queue", "untraced", "--kwargs", '{"seconds": 0}')
        assert stack.start("dispatch", *command).popen.wait(90) == 0, stack.news()
        eventually(lambda: Task.objects.filter(queue="untraced", status="SUCCESS").count() == 3, but=stack.news)
        worker.stop()
        assert "Traceback" not in worker.output


# What sends: redis-py imports the rest, where it is installed.
PROBE = """
import django, sys
django.setup()
from django.conf import settings
sends = "opentelemetry.exporter.otlp.proto.http.trace_exporter" in sys.modules
print(sends, any("tracing" in name for name in settings.MIDDLEWARE))
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "False False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "True True"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, "True True"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, "False False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, "False False"),
    ],
)
def test_it_is_set_up_where_an_endpoint_is_configured_and_else_not_even_imported(
    variables: dict[str, str], expected: str
) -> None:
    assert _probe(PROBE, variables).stdout.strip() == expected


def test_missing_packages_are_named_once_with_what_mends_it() -> None:
    hidden = "import sys; sys.modules['opentelemetry'] = None\n" + PROBE
    done = _probe(hidden, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert "False" in done.stdout.splitlines()[-1]
    assert done.stderr.count("pip install -r requirements-otel.txt") == 1
    assert "Traceback" not in done.stderr


def _probe(program: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = stacks.environment(**variables)
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
