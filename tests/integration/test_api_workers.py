"""`/api/v1/workers` with real workers: what they tell of themselves, and every control that a person has over them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.control import workers as control
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tests import stack as stacks
from tests.integration.conftest import ApiClient
from tests.stack import Gate, Stack
from tests.waiting import eventually
from zenith_worker.wire import heartbeat, stream

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/workers"
FIRST = "first@control"
SCALING = "scaling@control"
SOLO = "solo@control"


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(tmp_path_factory.mktemp("control"), ZENITH_TASK_MODULES="tests.sample_tasks"):
        stack.engine("engine", "--only", "recorder", "--only", "answers")
        stack.worker(FIRST, concurrency=2)
        stack.worker(SCALING, "-Q", "elsewhere", "--autoscale", "3,1")
        stack.worker(SOLO, "-Q", "alone", "-P", "solo", concurrency=1)
        yield stack


@pytest.fixture(autouse=True)
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    yield from stacks.settling(module_stack)


@pytest.fixture
def gate(stack: Stack, tmp_path: Path) -> Iterator[Gate]:
    """A gate that is open in the end, whatever the test did."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture
def reader(api: ApiClient) -> Client:
    return api("read")


@pytest.fixture
def writer(api: ApiClient) -> Client:
    return api("operate")


def post(client: Client, name: str, verb: str, body: Any = None) -> Any:
    data = {"data": "" if body is None else json.dumps(body), "content_type": "application/json"}
    return client.post(f"{PATH}/{name}/{verb}", **data)


def beat_of(name: str) -> heartbeat.WorkerBeat:
    return next(beat for beat in heartbeat.read_all() if beat.name == name)


def detail(response: Any, status: int) -> str:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    return str(response.json()["detail"])


def children_of(worker: str) -> set[int]:
    """The processes of a worker's pool; none where it did not answer, as one that forks may not for a moment."""
    stats = stacks.inspected(worker, lambda asked: asked.stats())
    return set(stats["pool"]["processes"]) if stats else set()


def sleep(seconds: float, queue: str = "default") -> str:
    return str(dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": seconds}, queue=queue), Origin(source="api")).ids[0])


# --- Reading ---


def test_the_list_shows_what_each_worker_is(reader: Client) -> None:
    eventually(lambda: all(beat.memory_bytes for beat in heartbeat.read_all()))
    answer = {item["name"]: item for item in reader.get(PATH).json()}
    assert set(answer) == {FIRST, SCALING, SOLO}
    first = answer[FIRST]
    assert {name: first[name] for name in ("state", "pool", "slots", "queues", "withheld_queues", "autoscale", "pid")} == {
        "state": "online", "pool": "prefork", "slots": 2, "queues": ["default"], "withheld_queues": [], "autoscale": None,
        "pid": beat_of(FIRST).pid,
    }  # fmt: skip
    assert first["uptime_seconds"] > 0
    # A Python process with Django in it, three times.
    assert first["memory_bytes"] > 60_000_000
    assert first["python_version"].startswith("3.")
    assert answer[SCALING]["autoscale"] == {"minimum": 1, "maximum": 3}
    assert (answer[SOLO]["pool"], answer[SOLO]["slots"]) == ("solo", 1)


def test_the_list_takes_one_query_however_many_workers_there_are(reader: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert len(reader.get(PATH).json()) == 3
    assert len([query for query in queries if "tasks_app_task" in query["sql"]]) == 1


def test_one_shows_what_it_runs(reader: Client, gate: Gate) -> None:
    task_id = gate.holds()
    eventually(lambda: Task.objects.filter(id=task_id, status="STARTED").exists())
    answer = eventually(lambda: (found := reader.get(f"{PATH}/{FIRST}").json())["busy"] == 1 and found)
    (task,) = answer["tasks"]
    assert (task["task_id"], task["task_type"], task["queue"], task["status"], task["attempt"]) == (
        task_id, "sample.meet", "default", "STARTED", 1,
    )  # fmt: skip
    assert answer["processed"] >= 1
    gate.open()


@pytest.mark.parametrize("verb", ["ping", "grow", "shrink", "drain", "restart-pool", "shut-down"])
def test_a_worker_that_does_not_exist_is_404(reader: Client, writer: Client, verb: str) -> None:
    assert detail(reader.get(f"{PATH}/nobody@control"), 404) == "There is no worker 'nobody@control'."
    assert detail(post(writer, "nobody@control", verb), 404)


def test_controls_take_the_permission_to_operate(api: ApiClient, member: Any) -> None:
    for verb in ("ping", "grow", "drain", "restart-pool", "shut-down"):
        assert "operate_task" in detail(post(api("operate", user=member), FIRST, verb), 403)
    assert beat_of(FIRST).queues == ("default",)


# --- Control ---


def test_ping_is_answered(writer: Client) -> None:
    answer = post(writer, FIRST, "ping").json()
    assert (answer["worker"], answer["answer"]) == (FIRST, "pong")
    assert 0 < answer["seconds"] < control.PATIENCE


def test_a_pool_grows_and_shrinks(writer: Client) -> None:
    assert post(writer, FIRST, "grow").status_code == 200
    eventually(lambda: beat_of(FIRST).slots == 3)
    assert post(writer, FIRST, "grow", {"slots": 2}).status_code == 200
    eventually(lambda: beat_of(FIRST).slots == 5)
    # Celery counts slots at once and starts their processes later; it refuses to end more than there are.
    eventually(lambda: len(children_of(FIRST)) == 5)
    assert post(writer, FIRST, "shrink", {"slots": 3}).status_code == 200
    eventually(lambda: beat_of(FIRST).slots == 2)
    assert "at least one must remain" in detail(post(writer, FIRST, "shrink", {"slots": 2}), 409)
    task_id = sleep(0.01)
    eventually(lambda: Task.objects.filter(id=task_id, status="SUCCESS").exists())


@pytest.mark.parametrize(
    ("worker", "verb", "body", "words"),
    [
        (FIRST, "autoscale", {"minimum": 1, "maximum": 2}, "without --autoscale"),
        (SCALING, "grow", None, "scales by itself"),
        (SOLO, "grow", None, "fixed size"),
        (SOLO, "shrink", {"slots": 1}, "at least one"),
        (SOLO, "restart-pool", None, "only prefork"),
        (FIRST, "cancel-queue", {"queue": "other"}, "it consumes: default"),
        (FIRST, "rate-limit", {"task": "nothing", "rate": "1/s"}, "unknown task"),
        (FIRST, "time-limit", {"task": "nothing", "hard": 5}, "unknown task"),
    ],
)
def test_what_a_worker_cannot_do_is_refused_with_the_reason(
    writer: Client, worker: str, verb: str, body: Any, words: str
) -> None:
    assert words in detail(post(writer, worker, verb, body), 409)


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("grow", {"slots": 0}, "/slots"),
        ("grow", {"slots": 101}, "/slots"),
        ("grow", {"slots": "1"}, "/slots"),
        ("grow", {"slot": 1}, "/slot"),
        ("shrink", {"slots": -1}, "/slots"),
        ("autoscale", {"minimum": 3, "maximum": 2}, "/maximum"),
        ("autoscale", {"minimum": 1}, "/maximum"),
        ("add-queue", {"queue": ""}, "/queue"),
        ("add-queue", {"queue": "a\n"}, "/queue"),
        ("time-limit", {"task": "t", "hard": 0}, "/hard"),
        ("time-limit", {"task": "t", "soft": 5, "hard": 5}, "/soft"),
        ("rate-limit", {"task": "t", "rate": "often"}, "/rate"),
        ("rate-limit", {"task": "t", "rate": "1/x"}, "/rate"),
        ("rate-limit", {"task": "t", "rate": "-1/s"}, "/rate"),
    ],
)
def test_wrong_input_is_named(writer: Client, verb: str, body: Any, pointer: str) -> None:
    answer = post(writer, FIRST, verb, body)
    detail(answer, 422)
    assert [item["pointer"] for item in answer.json()["errors"]] == [pointer]


def test_a_scaling_worker_gets_other_bounds(writer: Client) -> None:
    assert post(writer, SCALING, "autoscale", {"minimum": 2, "maximum": 4}).status_code == 200
    eventually(lambda: beat_of(SCALING).autoscale == (2, 4))
    assert post(writer, SCALING, "autoscale", {"minimum": 1, "maximum": 3}).status_code == 200
    eventually(lambda: beat_of(SCALING).autoscale == (1, 3))


def test_a_queue_is_added_and_cancelled(writer: Client) -> None:
    assert post(writer, FIRST, "add-queue", {"queue": "reports"}).status_code == 200
    eventually(lambda: beat_of(FIRST).queues == ("default", "reports"))
    task_id = sleep(0.01, "reports")
    eventually(lambda: Task.objects.filter(id=task_id, status="SUCCESS").exists())
    assert post(writer, FIRST, "cancel-queue", {"queue": "reports"}).json()["answer"] == ["reports"]
    eventually(lambda: beat_of(FIRST).queues == ("default",))


def test_a_drained_worker_finishes_what_it_has_and_takes_nothing_more(writer: Client, reader: Client, gate: Gate) -> None:
    running = gate.holds()
    eventually(lambda: Task.objects.filter(id=running, status="STARTED").exists())
    assert post(writer, FIRST, "drain").json()["answer"] == ["default"]
    eventually(lambda: reader.get(f"{PATH}/{FIRST}").json()["state"] == "draining")
    waiting = sleep(0.01)
    gate.open()
    eventually(lambda: reader.get(f"{PATH}/{FIRST}").json()["state"] == "drained")
    assert Task.objects.get(id=waiting).status == "QUEUED"
    eventually(lambda: Task.objects.filter(id=running, status="SUCCESS").exists())
    post(writer, FIRST, "add-queue", {"queue": "default"})
    eventually(lambda: Task.objects.filter(id=waiting, status="SUCCESS").exists())
    assert reader.get(f"{PATH}/{FIRST}").json()["state"] in ("drained", "online")
    eventually(lambda: beat_of(FIRST).queues == ("default",))


def test_the_rate_and_the_time_of_a_task_are_limited(writer: Client) -> None:
    assert post(writer, FIRST, "rate-limit", {"task": "sample.echo", "rate": "7/m"}).status_code == 200
    assert post(writer, FIRST, "time-limit", {"task": "sample.echo", "soft": 3, "hard": 5.5}).status_code == 200
    told = eventually(lambda: stacks.inspected(FIRST, lambda asked: asked.registered("rate_limit", "time_limit")))
    (line,) = [line for line in told if line.startswith("sample.echo ")]
    assert "7/m" in line
    assert "5.5" in line
    assert post(writer, FIRST, "rate-limit", {"task": "sample.echo", "rate": "0"}).status_code == 200
    assert post(writer, FIRST, "time-limit", {"task": "sample.echo"}).status_code == 200


def test_a_restarted_pool_has_new_processes_and_loses_no_task(writer: Client) -> None:
    before = eventually(lambda: children_of(FIRST))
    ids = [sleep(0.3) for _ in range(4)]
    assert post(writer, FIRST, "restart-pool").status_code == 200
    for task_id in ids:
        eventually(lambda task_id=task_id: Task.objects.filter(id=task_id, status="SUCCESS").exists(), within=30)
    more = [sleep(0.05) for _ in range(8)]
    eventually(lambda: Task.objects.filter(id__in=more, status="SUCCESS").count() == 8, within=30)
    eventually(lambda: (now := children_of(FIRST)) and not before & now, but=lambda: (before, children_of(FIRST)))


def test_a_worker_that_is_frozen_is_504_then_offline(writer: Client, reader: Client) -> None:
    process = beat_of(SOLO).pid
    os.kill(process, signal.SIGSTOP)
    try:
        assert "did not answer within 2 s" in detail(post(writer, SOLO, "ping"), 504)
        eventually(lambda: reader.get(f"{PATH}/{SOLO}").json()["state"] == "offline")
        assert "has sent no heartbeat for" in detail(post(writer, SOLO, "ping"), 409)
    finally:
        os.kill(process, signal.SIGCONT)
    eventually(lambda: reader.get(f"{PATH}/{SOLO}").json()["state"] == "online")


def test_a_worker_is_shut_down_and_finishes_its_task(writer: Client, stack: Stack, gate: Gate) -> None:
    process = stack.worker("last@control", "-Q", "last", concurrency=1)
    task_id = gate.holds("last")
    eventually(lambda: Task.objects.filter(id=task_id, status="STARTED").exists())
    assert post(writer, "last@control", "shut-down").json() == {"worker": "last@control", "status": "stopping"}
    gate.open()
    eventually(lambda: not process.runs)
    eventually(lambda: Task.objects.filter(id=task_id, status="SUCCESS").exists())
    assert detail(post(writer, "last@control", "ping"), 404)


def test_a_worker_that_does_not_answer_is_told_to_stop_all_the_same(writer: Client, stack: Stack) -> None:
    process = stack.worker("deaf@control", "-Q", "deaf", concurrency=1)
    os.kill(process.popen.pid, signal.SIGSTOP)
    try:
        assert "it may still carry out the command" in detail(post(writer, "deaf@control", "shut-down"), 504)
    finally:
        os.kill(process.popen.pid, signal.SIGCONT)
    eventually(lambda: not process.runs)


def test_a_command_after_redis_dropped_every_idle_connection_is_answered(writer: Client) -> None:
    assert post(writer, FIRST, "ping").status_code == 200
    client = stream.client()
    for other in client.client_list():
        # What waits in a command ("b") or is subscribed ("P") is a worker's or an engine's, and not idle.
        if not {"b", "P"} & set(other["flags"]) and other["id"] != str(client.client_id()):
            client.client_kill_filter(_id=other["id"])
    assert post(writer, FIRST, "ping").status_code == 200


def test_a_killed_worker_is_cleared_once_it_is_dead_and_comes_back_when_it_is_started_again(
    writer: Client, reader: Client, stack: Stack
) -> None:
    name = "mortal@control"
    process = stack.worker(name, "-Q", "mortal", concurrency=1)
    assert "within the last 12 s" in detail(writer.delete(f"{PATH}/{name}"), 409)
    process.kill()
    eventually(lambda: beat_of(name).dead, within=20)
    assert writer.delete(PATH).json() == {"cleared": [name], "holding": []}
    assert name not in {worker["name"] for worker in reader.get(PATH).json()}
    assert writer.delete(PATH).json() == {"cleared": [], "holding": []}
    assert detail(writer.delete(f"{PATH}/{name}"), 404)
    stack.worker(name, "-Q", "mortal", concurrency=1)
    assert reader.get(f"{PATH}/{name}").json()["state"] == "online"
    assert post(writer, name, "shut-down").status_code == 200
    eventually(lambda: name not in {beat.name for beat in heartbeat.read_all()})
