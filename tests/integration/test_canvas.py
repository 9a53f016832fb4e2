"""What an application does with Celery beyond plain calls ends here as it does on stock Celery, and every task of it is known."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, current_app, group
from celery.exceptions import ChordError
from celery.result import AsyncResult
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.rerun import run_again
from tasks_app.models import DeadLetter, Task, TaskEvent
from tasks_app.workflows.chords import run_body
from tasks_app.workflows.graph import Graph, graph_of
from tasks_app.workflows.listing import WorkflowFilter
from tasks_app.workflows.members import members, top_of
from tasks_app.workflows.outline import Outline, outline
from tests import canvas_tasks as tasks
from tests import hijacking_tasks
from tests import stack as stacks
from tests.stack import Stack
from tests.waiting import eventually
from zenith_site.common.application import celery_app, stay_current
from zenith_site.common.errors import StateConflictError
from zenith_worker.wire import deliveries, stream
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import UNREADABLE
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import TERMINAL

pytestmark = pytest.mark.django_db(transaction=True)

# Importing the module made its application the current one, here as in a worker.
stay_current()

PATIENCE = 30


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(
        tmp_path_factory.mktemp("canvas"),
        ZENITH_TASK_MODULES="tests.canvas_tasks,tests.hijacking_tasks",
        ZENITH_MAX_DELIVERIES="6",
    ):
        stack.engine()
        stack.worker("canvas@tests", concurrency=2)
        yield stack


@pytest.fixture(autouse=True)
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    yield from stacks.settling(module_stack)


@pytest.fixture
def log(tmp_path: Path) -> str:
    """The file in which bodies note that they ran."""
    path = tmp_path / "log"
    path.touch()
    return str(path)


def runs(log: str) -> int:
    return Path(log).read_text().count("ran")


def steps(task_id: str) -> list[str]:
    return list(TaskEvent.objects.filter(task_id=task_id).order_by("position").values_list("status", flat=True))


def ended(task_id: str) -> Task:
    """The task's row once it is over."""
    found = Task.objects.filter(id=task_id, status__in=TERMINAL)
    return eventually(found.first, within=PATIENCE, but=lambda: steps(task_id))


def run(name: str, *, data: Any = None, **kwargs: Any) -> str:
    """Dispatch a task as the API does; return its id."""
    return str(dispatch(Dispatch(task=name, data=data, kwargs=kwargs), Origin(source="api")).ids[0])


# --- Chords ---


@pytest.mark.parametrize("parts", [1, 2, 100])
def test_a_chords_body_gets_all_results_of_its_header(parts: int) -> None:
    result = chord([tasks.add.s(number, 1) for number in range(parts)], tasks.total.s()).delay()
    assert result.get(timeout=PATIENCE) == sum(range(1, parts + 1))
    row = ended(result.id)
    assert (row.status, row.name, row.args) == ("SUCCESS", "canvas.total", [list(range(1, parts + 1))])
    assert Task.objects.filter(name="canvas.add", status="SUCCESS").count() == parts


def test_chords_in_chords_in_chains_and_behind_groups() -> None:
    inner = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())
    assert chord([inner, tasks.add.s(4)], tasks.total.s()).delay().get(timeout=PATIENCE) == 7
    both = chain(tasks.add.s(1), chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s()), tasks.add.s(10))
    assert both.delay().get(timeout=PATIENCE) == 15
    assert (group(tasks.add.s(1), tasks.add.s(2)) | tasks.total.s() | tasks.add.s(1)).delay().get(timeout=PATIENCE) == 4


def workflow_of(task_id: str) -> tuple[Graph, Outline]:
    """The graph of the workflow that a task belongs to, and its figures."""
    read = members(top_of(key_of(task_id)))
    assert read is not None
    graph = graph_of(read)
    return graph, outline(graph, read.workflow.created_at, timezone.now())


def edges(graph: Graph) -> list[tuple[str, str, str]]:
    return sorted((graph.nodes[edge.before].name, str(edge.kind), graph.nodes[edge.after].name) for edge in graph.edges)


def test_a_chord_of_chains_is_one_workflow() -> None:
    parts = [tasks.add.s(1) | tasks.quiet_add.s(2), tasks.add.s(3) | tasks.quiet_add.s(4)]
    result = chord(parts, tasks.total.s()).delay()
    assert result.get(timeout=PATIENCE) == 10
    body = ended(result.id).id
    graph, figures = eventually(lambda: found if (found := workflow_of(str(body)))[1].finished == 5 else None)
    assert edges(graph) == [
        *[("canvas.add", "next", "canvas.quiet_add")] * 2, *[("canvas.quiet_add", "join", "canvas.total")] * 2,
    ]  # fmt: skip
    assert (figures.status, figures.total, figures.planned) == ("SUCCEEDED", 5, 0)
    assert len(figures.critical) == 3
    (listed,) = WorkflowFilter().page().workflows
    assert (listed.finished, listed.total, listed.status) == (5, 5, "SUCCEEDED")


def test_a_failed_step_that_is_run_again_goes_on_from_there(log: str) -> None:
    first, second = (tasks.fails_first.s(log, 4) | tasks.add.s(1)).delay().parent.id, "canvas.add"
    assert ended(first).status == "FAILURE"
    graph, figures = eventually(lambda: found if (found := workflow_of(first))[1].finished == 2 else None)
    assert edges(graph) == [("canvas.fails_first", "next", second)]
    assert ([failure.blocked for failure in figures.failures], figures.status) == ([1], "FAILED")
    again = run_again(key_of(first), Origin(source="api"))
    graph, figures = eventually(lambda: found if (found := workflow_of(str(again)))[1].finished == 4 else None, within=PATIENCE)
    assert edges(graph) == [
        ("canvas.fails_first", "next", second), ("canvas.fails_first", "next", second),
        ("canvas.fails_first", "replay", "canvas.fails_first"),
    ]  # fmt: skip
    assert figures.status == "SUCCEEDED"
    assert Task.objects.get(name=second, status="SUCCESS").args == [4, 1]


def test_a_chord_whose_part_fails_says_what_it_blocked() -> None:
    result = chord([tasks.bad.s(), tasks.add.s(2)], tasks.total.s()).delay()
    assert ended(result.id).status == "FAILURE"
    graph, figures = eventually(lambda: found if (found := workflow_of(result.id))[1].finished == 3 else None)
    assert edges(graph) == [("canvas.add", "join", "canvas.total"), ("canvas.bad", "join", "canvas.total")]
    assert [(failure.member.name, failure.blocked) for failure in figures.failures] == [("canvas.bad", 1)]


def test_a_chord_whose_failed_part_was_run_again_goes_on_with_its_body(log: str) -> None:
    result = chord([tasks.add.s(1), tasks.fails_first.s(log, 4)], tasks.total.s()).delay()
    body = ended(result.id)
    assert body.status == "FAILURE"
    (failed,) = Task.objects.filter(name="canvas.fails_first")
    with pytest.raises(StateConflictError):
        run_body(workflow_of(result.id)[0], body.id, Origin(source="api"))
    again = ended(str(run_again(failed.id, Origin(source="api"))))
    assert again.status == "SUCCESS"
    new = run_body(workflow_of(result.id)[0], body.id, Origin(source="api"))
    assert (ended(str(new)).status, Task.objects.get(id=new).args) == ("SUCCESS", [[1, 4]])
    assert TaskResult.objects.get(task_id=str(new)).result == "5"
    with pytest.raises(StateConflictError):
        run_body(workflow_of(result.id)[0], body.id, Origin(source="api"))
    assert eventually(lambda: workflow_of(result.id)[1].status == "SUCCEEDED")


@pytest.mark.parametrize("kind", ["task", "group", "chain", "chord"])
def test_a_task_that_replaces_itself_is_a_workflow_without_cycles(kind: str) -> None:
    task = tasks.replace.delay(kind, 1, 2).id
    ended(task)
    if kind == "task":
        return
    graph, figures = eventually(lambda: found if (found := workflow_of(task))[1].status == "SUCCEEDED" else None)
    assert graph.edges
    assert figures.planned == 0


def test_a_chord_that_a_task_makes() -> None:
    body = tasks.chord_inside.delay(3).get(timeout=PATIENCE)
    assert AsyncResult(body).get(timeout=PATIENCE) == 6
    assert AsyncResult(ended(run("canvas.chord_inside", data=2)).id).get(timeout=PATIENCE)
    eventually(lambda: Task.objects.filter(name="canvas.total", status="SUCCESS").count() == 2)


def test_a_chord_whose_parts_keep_no_result_and_retry(log: str) -> None:
    parts = [tasks.quiet_add.s(1, 2), tasks.flaky.s(log, 4)]
    assert chord(parts, tasks.total.s()).delay().get(timeout=PATIENCE) == 7
    assert runs(log) == 2


def test_a_chord_whose_parts_process_died_before_it_returned_the_part(log: str) -> None:
    """Celery 5.7 takes such a task for done, and its chord would wait for ever."""
    assert chord([tasks.dies_before_its_part.s(log, 1), tasks.add.s(2)], tasks.total.s()).delay().get(timeout=PATIENCE) == 3
    assert runs(log) == 1


def test_a_chord_with_a_failing_part_fails_its_body_which_says_what_it_would_have_been(log: str) -> None:
    body = tasks.total.s().on_error(tasks.errback.s(log))
    result = chord([tasks.add.s(1), tasks.bad.s()], body).delay()
    with pytest.raises(ChordError, match="in the header"):
        AsyncResult(result.id).get(timeout=PATIENCE)
    row = ended(result.id)
    assert (row.status, row.error_type, row.name, row.queue) == ("FAILURE", "ChordError", "canvas.total", "default")
    assert eventually(lambda: Path(log).read_text().split()) == [result.id]


# --- Results ---


def test_a_callback_reads_its_parents_result() -> None:
    result = tasks.add.apply_async((1, 2), link=tasks.read_parent.s())
    assert result.get(timeout=PATIENCE) == 3
    child = eventually(lambda: Task.objects.filter(name="canvas.read_parent", status="SUCCESS").first())
    assert AsyncResult(str(child.id)).get(timeout=PATIENCE) == ["SUCCESS", 3]


@pytest.mark.parametrize("id_", ["order-17", "a/b c?", "0C5B7B9E-5D2B-4B0C-9D1E-0A1B2C3D4E5F"])
def test_a_task_whose_id_is_any_text_runs_like_others(id_: str) -> None:
    assert tasks.add.apply_async((1, 2), task_id=id_).get(timeout=PATIENCE) == 3
    row = ended(str(key_of(id_)))
    assert (row.celery_id, row.status, TaskResult.objects.get(task_id=id_).status) == (id_, "SUCCESS", "SUCCESS")
    # Who sent it reports for itself, and may be later than the worker.
    eventually(lambda: steps(str(row.id))[0] == "QUEUED")


def test_parts_and_body_of_a_chord_may_have_any_id() -> None:
    header = [tasks.add.s(number).set(task_id=f"part {number}") for number in range(3)]
    assert chord(header, tasks.total.s().set(task_id="the whole")).delay().get(timeout=PATIENCE) == 3
    for id_ in ("part 0", "part 1", "part 2", "the whole"):
        assert ended(str(key_of(id_))).status == "SUCCESS"


def test_what_redis_has_forgotten_postgresql_still_knows() -> None:
    result = tasks.add.delay(1, 2)
    ended(result.id)
    result.backend.client.delete(result.backend.get_key_for_task(result.id))
    assert AsyncResult(result.id).get(timeout=PATIENCE) == 3
    stored = TaskResult.objects.get(task_id=result.id)
    assert (stored.task_args, stored.task_kwargs) == ('"[1, 2]"', '"{}"')


def test_a_dispatched_task_leaves_no_result_in_redis() -> None:
    task_id = run("canvas.add", data=1)
    waiting = AsyncResult(task_id)
    assert waiting.get(timeout=PATIENCE) == 1
    assert waiting.backend.get(waiting.backend.get_key_for_task(task_id)) is None


def test_what_celery_results_stores_besides_is_stored_here_too() -> None:
    result = tasks.with_meta.apply_async(headers={"periodic_task_name": "nightly"})
    ended(result.id)
    stored = TaskResult.objects.get(task_id=result.id)
    assert (stored.periodic_task_name, stored.meta) == ("nightly", '{"mine": [1], "children": []}')
    assert TaskResult.objects.get(task_id=ended(tasks.add.delay(1).id).id).periodic_task_name is None


# --- Ends without a result ---


@pytest.mark.parametrize("how", ["delay", "dispatch"])
def test_a_failure_whose_result_is_ignored_is_a_failure(log: str, how: str) -> None:
    task_id = tasks.quiet_failure.delay(log).id if how == "delay" else run("canvas.quiet_failure", data=log)
    assert ended(task_id).status == "FAILURE"
    assert DeadLetter.objects.filter(task_id=task_id).count() == 1
    assert runs(log) == 1


def test_a_retry_whose_result_is_ignored_is_on_the_timeline(log: str) -> None:
    task_id = tasks.quiet_flaky.delay(log).id
    assert ended(task_id).status == "SUCCESS"
    assert eventually(lambda: "RETRY" in steps(task_id))


def test_expired_and_hard_killed_tasks_whose_results_are_ignored() -> None:
    expired = tasks.quiet_add.apply_async((1,), expires=datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)).id
    assert ended(expired).status == "REVOKED"
    killed = ended(tasks.quiet_hang.delay().id)
    assert (killed.status, killed.error_type) == ("FAILURE", "TimeLimitExceeded")


@pytest.mark.parametrize("how", ["delay", "dispatch"])
def test_a_body_that_raises_ignore_ends_its_task(log: str, how: str) -> None:
    task_id = tasks.ignore.delay(log).id if how == "delay" else run("canvas.ignore", data=log)
    assert ended(task_id).status == "IGNORED"
    assert runs(log) == 1
    assert TaskEvent.objects.get(task_id=task_id, status="IGNORED").message == "not for me"
    assert not TaskResult.objects.filter(task_id=task_id).exists()


def test_a_state_that_the_body_told_stands_when_it_raises_ignore() -> None:
    result = tasks.tell_and_ignore.delay("FAILURE")
    row = ended(result.id)
    assert (row.status, row.error_type, row.error_message) == ("FAILURE", "ValueError", "told")
    assert result.state == "FAILURE"


def test_a_state_that_the_body_told_does_not_outlive_its_return() -> None:
    result = tasks.tell.delay("FAILURE")
    assert ended(result.id).status == "SUCCESS"
    assert result.get(timeout=PATIENCE) == "in the end"
    dispatched = run("canvas.tell", data="PROGRESS")
    assert ended(dispatched).status == "SUCCESS"
    assert eventually(lambda: AsyncResult(dispatched).state) == "SUCCESS"


# --- Replacements ---


@pytest.mark.parametrize("how", ["delay", "dispatch"])
@pytest.mark.parametrize(
    ("kind", "numbers", "expected"),
    [
        ("task", (1, 2), 3), ("group", (1, 2), [2, 4]), ("chain", (1, 2), 4), ("chord", (1, 2, 3), 6), ("itself", (1, 2), 3),
    ],
)  # fmt: skip
def test_a_replacement_brings_the_outcome_under_the_same_id(kind: str, numbers: tuple[int, ...], expected: Any, how: str) -> None:
    if how == "delay":
        result = tasks.replace.delay(kind, *numbers)
    else:
        result = AsyncResult(run("canvas.replace_with", data=kind, numbers=list(numbers)))
    assert result.get(timeout=PATIENCE) == expected
    assert ended(result.id).status == "SUCCESS"
    times = 1 + (kind == "itself") + (how == "dispatch")
    assert eventually(lambda: steps(result.id).count("REPLACED") >= times, but=lambda: steps(result.id))
    assert steps(result.id).count("REPLACED") == times
    assert ended(result.id).name.startswith("canvas.replace"), "the row shows what was asked for"


def test_a_replacement_that_fails_fails_the_task(log: str) -> None:
    result = tasks.replace.delay("failing chord", 1)
    row = ended(result.id)
    assert (row.status, row.error_type) == ("FAILURE", "ChordError")


def test_a_replacement_retries_by_its_own_count(log: str) -> None:
    result = tasks.replace.delay("flaky", log, 5)
    assert result.get(timeout=PATIENCE) == 5
    assert ended(result.id).status == "SUCCESS"
    assert runs(log) == 2


# --- Rejections ---


def test_a_rejected_message_comes_back_at_once(log: str) -> None:
    result = tasks.reject.delay(log, 2)
    assert result.get(timeout=PATIENCE) == "taken"
    assert runs(log) == 3
    assert ended(result.id).status == "SUCCESS"


def test_a_message_rejected_for_good_is_a_failure_that_says_so() -> None:
    row = ended(tasks.reject_for_good.delay().id)
    assert (row.status, row.error_type) == ("FAILURE", "Reject")


def test_a_body_that_gives_its_message_back_for_ever_is_stopped_by_the_setting(log: str) -> None:
    row = ended(tasks.reject.delay(log, 10**6).id)
    assert (row.status, row.error_type, runs(log)) == ("FAILURE", "Reject", 6)
    assert "rejected 6 times" in row.error_message


def delivered_again(*, lost: int) -> str:
    """Send a message that was lost so often with whoever took it; return its task's id."""
    id_ = str(uuid.uuid4())
    for _ in range(lost):
        deliveries.count_lost(id_, RunNumber(0, 0))
    with celery_app().producer_or_acquire() as producer:
        message = celery_app().amqp.create_task_message(id_, "canvas.add", (1, 2), {})
        message.properties["delivery_info"] = {"redelivered": True}
        celery_app().amqp.send_task_message(producer, "canvas.add", message)
    return id_


def test_a_message_whose_takers_die_before_its_body_begins_is_buried_with_its_arguments() -> None:
    id_ = delivered_again(lost=6)
    row = ended(id_)
    assert (row.status, row.error_type, row.args) == ("FAILURE", "DeliveredTooOftenError", [1, 2])
    again = run_again(row.id, Origin(source="api"))
    assert ended(str(again)).status == "SUCCESS"


def test_a_message_that_reaches_its_body_begins_to_count_anew() -> None:
    id_ = delivered_again(lost=5)
    assert ended(id_).status == "SUCCESS"
    assert deliveries.lost_count(id_, RunNumber(0, 0)) == 0


# --- Arguments ---

NOW = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
RICH = [
    NOW, NOW.replace(tzinfo=None), NOW.date(), datetime.time(1), decimal.Decimal("1.1"), uuid.UUID(int=7), b"abc", b"\xff",
    {"deep": [uuid.UUID(int=7)]},
]  # fmt: skip


def test_arguments_that_only_kombus_json_knows_arrive_and_are_accounted_for() -> None:
    results = [tasks.ran.delay(value, named=value) for value in RICH]
    assert {result.get(timeout=PATIENCE) for result in results} == {"ran"}
    assert {ended(result.id).status for result in results} == {"SUCCESS"}
    names = tasks.tell_types.delay(*RICH).get(timeout=PATIENCE)
    assert names == ["datetime", "datetime", "date", "time", "Decimal", "UUID", "bytes", "bytes", "dict"]


# --- Chains ---


def test_the_rest_of_a_failed_chain_is_told_that_it_will_not_run() -> None:
    result = chain(tasks.bad.s(), tasks.add.s(1), tasks.add.s(2).set(queue="default")).delay()
    with pytest.raises(ValueError, match="in the header"):
        result.get(timeout=PATIENCE)
    first, second, third = (ended(one.id) for one in (result.parent.parent, result.parent, result))
    assert first.status == "FAILURE"
    for row in (second, third):
        assert (row.status, row.name, row.queue) == ("REVOKED", "canvas.add", "default")
        step = TaskEvent.objects.get(task=row, status="REVOKED")
        assert step.message == "not run: a task before it in its chain ended in FAILURE (ValueError: in the header)"
    assert result.state == "FAILURE", "who waits for the chain gets its error"
    assert DeadLetter.objects.count() == 1


# --- Retries of the task's own ---


def test_a_retry_with_a_limit_of_its_own_is_not_retried_beyond_it(log: str) -> None:
    row = ended(tasks.retry_once.delay(log).id)
    assert (row.status, row.error_type, runs(log)) == ("FAILURE", "ValueError", 2)


def test_a_dispatchs_limit_counts_for_retries_of_the_tasks_own(log: str) -> None:
    asked = Dispatch(task="canvas.retry_freely", data=log, max_retries=1)
    row = ended(str(dispatch(asked, Origin(source="api")).ids[0]))
    assert (row.status, runs(log)) == ("FAILURE", 2)


def test_a_body_that_sends_the_next_attempt_and_returns_is_followed_by_it(log: str) -> None:
    result = tasks.retry_without_throw.delay(log)
    row = ended(result.id)
    assert (row.status, row.attempt, runs(log)) == ("SUCCESS", 2, 2)
    assert eventually(lambda: AsyncResult(result.id).result == "the second")


def test_a_retry_raised_by_hand_ends(log: str) -> None:
    row = ended(tasks.retry_by_hand.delay(log).id)
    assert (row.status, row.error_type, runs(log)) == ("FAILURE", "Retry", 1)


def test_a_task_whose_base_class_is_an_applications_own_keeps_its_rules(log: str) -> None:
    result = tasks.on_their_base.delay(log)
    assert result.get(timeout=PATIENCE) == 3
    row = ended(result.id)
    assert (row.status, row.attempt, runs(log)) == ("SUCCESS", 3, 3)


# --- Errors ---


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("own", ("PaymentError", "declined")),
        ("file", ("FileNotFoundError", "[Errno 2] No such file or directory: '/nonexistent/report.csv'")),
        ("process", ("CalledProcessError", "Command '['false']' returned non-zero exit status 1.")),
        ("caused", ("PaymentError", "caused")),
    ],
)
def test_errors_read_as_python_prints_them(kind: str, error: tuple[str, str]) -> None:
    result = tasks.fail.delay(kind)
    row = ended(result.id)
    assert (row.error_type, row.error_message) == error
    traceback = TaskResult.objects.get(task_id=result.id).traceback
    assert error[1] in traceback
    assert ("KeyError: 'cause'" in traceback) == (kind == "caused")


# --- Odd messages ---


@pytest.mark.parametrize(("priority", "shown"), [(-1, 0), ("5", 5), (3.7, 3), (100_000, 9)])
def test_any_priority_is_one_that_the_broker_knows(priority: Any, shown: int) -> None:
    row = ended(tasks.add.apply_async((1,), priority=priority).id)
    assert (row.status, row.priority) == ("SUCCESS", shown)


def test_arguments_that_look_like_marks_of_kombus_fail_their_task() -> None:
    row = ended(tasks.ran.delay({"__type__": "nope", "__value__": 1}).id)
    assert (row.status, row.error_type) == ("FAILURE", "DecodeError")


def send(headers: dict[str, Any], body: Any = ([], {}, {}), **properties: Any) -> str:
    """Publish a message as any program may; return the id that it names."""
    task_id = str(uuid.uuid4())
    with current_app.producer_pool.acquire() as producer:
        producer.publish(
            body, routing_key="default", headers={"lang": "py", "task": "canvas.ran", "id": task_id, **headers}, **properties
        )
    return task_id


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"retries": None}, ([], {}, {}), "SUCCESS"),
        ({"retries": "many"}, ([], {}, {}), "SUCCESS"),
        ({"eta": "tomorrow"}, ([], {}, {}), "FAILURE"),
        ({}, {"no": "task"}, "FAILURE"),
        ({}, [1, 2], "FAILURE"),
        ({}, "text", "FAILURE"),
        ({}, None, "FAILURE"),
        ({}, (5, 5, 5), "FAILURE"),
        ({}, ([], {}, 5), "FAILURE"),
        ({}, ([], {}, {"chain": 5}), "FAILURE"),
        ({}, ([], {}, {"chord": []}), "FAILURE"),
        ({"timelimit": "x"}, ([], {}, {}), None),
        ({"task": 5}, ([], {}, {}), "FAILURE"),
        ({"task": "canvas.nobody_knows"}, ([], {}, {}), "FAILURE"),
        ({"group": "half of a pair: \ud800"}, ([], {}, {}), "FAILURE"),
    ],
)
def test_a_message_that_cannot_be_run_has_an_end_and_stops_nobody(headers: dict[str, Any], body: Any, status: str | None) -> None:
    row = ended(send(headers, body))
    assert status is None or row.status == status, (row.error_type, row.error_message)
    assert tasks.add.delay(1).get(timeout=PATIENCE) == 1


def test_an_id_that_is_no_text_fails_its_task_before_its_body_runs() -> None:
    half = f"half of a pair, {uuid.uuid4()}: \ud800"
    send({"id": half})
    row = ended(str(key_of(half)))
    assert (row.status, row.error_type, row.started_at) == ("FAILURE", "InvalidTaskError", None)
    assert tasks.add.delay(1).get(timeout=PATIENCE) == 1


def test_a_message_that_names_no_task_is_set_aside() -> None:
    before = stream.unreadable_count()
    with current_app.producer_pool.acquire() as producer:
        producer.publish("hello", routing_key="default")
    eventually(lambda: stream.unreadable_count() == before + 1, but=stream.unreadable_count)
    assert tasks.add.delay(1).get(timeout=PATIENCE) == 1
    stream.client().delete(UNREADABLE)


def test_a_worker_without_a_tasks_code_leaves_it_to_one_that_has_it(stack: Stack) -> None:
    ignorant = stack.worker("ignorant@tests", concurrency=1, ZENITH_TASK_MODULES="")
    results = [tasks.add.delay(number) for number in range(40)]
    assert [result.get(timeout=PATIENCE) for result in results] == list(range(40))
    assert {ended(result.id).status for result in results} == {"SUCCESS"}
    assert "goes back to its queue: this worker does not know it" in ignorant.output
    nobodys = ended(send({"task": "canvas.nobody_knows"}, ([1], {"named": 2}, {})))
    assert (nobodys.status, nobodys.error_type, nobodys.args, nobodys.kwargs) == ("FAILURE", "NotRegistered", [1], {"named": 2})
    ignorant.stop()


# --- Applications ---


def test_a_module_with_an_application_of_its_own_takes_nothing_away() -> None:
    hijacking_tasks.theirs.set_current()
    try:
        assert current_app.main == "theirs"
        parent = run("hijack.parent", data=5)
        child = AsyncResult(parent, app=celery_app()).get(timeout=PATIENCE)
    finally:
        stay_current()
    assert ended(child).status == "SUCCESS"
    assert hijacking_tasks.theirs.tasks["hijack.elsewhere"]
    assert not Task.objects.filter(name="hijack.elsewhere").exists()


# --- Delivery policy ---


def test_a_task_that_acknowledges_early_is_not_run_again_when_its_worker_dies(log: str, stack: Stack) -> None:
    doomed = stack.worker("doomed@tests", "-Q", "doomed", concurrency=1)
    task_id = tasks.pay.apply_async((log,), queue="doomed").id
    eventually(lambda: runs(log))
    doomed.kill()
    row = eventually(Task.objects.filter(id=task_id, status__in=TERMINAL).first, within=90, but=lambda: steps(task_id))
    assert (row.status, row.error_type, runs(log)) == ("FAILURE", "WorkerLostError", 1)
    assert row.acks_early
