"""Real tasks on a real worker: whatever becomes of one is known, once, and readable where Celery's users look for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain, current_app, signature
from celery.exceptions import TimeLimitExceeded
from celery.result import AsyncResult
from django_celery_results.models import TaskResult

from tasks_app.builtin_tasks import analyze_text, drill_sleep
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import MinuteRollup, Task, TaskEvent, TaskLog, TaskProgress
from tasks_app.queries.attempts import attempts_of
from tasks_app.queries.progress import progress_of
from tasks_app.queries.status_explanation import explain_status
from tasks_app.queries.task_logs import read_forward
from tests import stack as stacks
from tests.broker import messages
from tests.stack import Gate, Stack, answers
from tests.waiting import eventually
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.client import client
from zenith_worker.wire.headers import DISPATCHED_HEADER
from zenith_worker.wire.states import TERMINAL

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "first@tests"


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(tmp_path_factory.mktemp("worker"), ZENITH_TASK_MODULES="tests.sample_tasks"):
        stack.engine()
        # With a database, unlike others: some bodies dispatch as code of the same project may.
        stack.worker(WORKER, concurrency=2, DATABASE_URL=stacks.environment()["DATABASE_URL"])
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


def run(task: str, count: int = 1, **more: Any) -> list[str]:
    done = dispatch(Dispatch(task=task, count=count, **more), Origin(source="api"))
    return [str(task_id) for task_id in done.ids]


def call(name: str, *args: Any, **options: Any) -> str:
    """Send a task as other code does; return its id."""
    return str(current_app.send_task(name, args=args, **options).id)


def ended(task_id: str, within: float = 30) -> Task:
    """The task's row once it is terminal."""
    eventually(
        lambda: Task.objects.filter(id=task_id, status__in=TERMINAL).exists(), within=within, but=lambda: steps_of(task_id)
    )
    return Task.objects.get(id=task_id)


def expect_retries(task_id: str, count: int) -> None:
    """Wait for the reports of so many retries: the next attempt may be over before the last one's is written."""
    eventually(lambda: steps_of(task_id).count("RETRY") >= count, but=lambda: steps_of(task_id))
    assert steps_of(task_id).count("RETRY") == count


def steps_of(task_id: str) -> list[str]:
    return list(TaskEvent.objects.filter(task_id=task_id).order_by("position").values_list("status", flat=True))


# --- Success ---


def test_analyze_text_succeeds_and_its_result_is_read_as_celerys_users_do() -> None:
    (task_id,) = run("analyze_text", data="To be, or not to be.")
    result = AsyncResult(task_id).get(timeout=30)
    assert result == analyze_text("To be, or not to be.")
    task = ended(task_id)
    assert (task.status, task.worker, task.attempt, task.error_type) == ("SUCCESS", WORKER, 1, "")
    assert steps_of(task_id) == ["PENDING", "QUEUED", "RECEIVED", "STARTED", "SUCCESS"]
    assert task.queued_at <= task.received_at <= task.started_at <= task.finished_at
    assert task.runtime is not None
    stored = TaskResult.objects.get()
    assert (stored.task_id, stored.status, stored.worker, stored.task_name) == (task_id, "SUCCESS", WORKER, "analyze_text")


def test_a_hundred_tasks_end_in_a_hundred_rows_and_results() -> None:
    ids = run("analyze_text", count=100)
    eventually(lambda: Task.objects.filter(status="SUCCESS").count() == 100, within=40)
    assert set(TaskResult.objects.values_list("task_id", flat=True)) == set(ids)
    assert sum(MinuteRollup.objects.values_list("succeeded", flat=True)) == 100
    assert TaskEvent.objects.filter(status="SUCCESS").count() == 100


def test_a_running_task_shows_where_it_runs(gate: Gate) -> None:
    task_id = gate.holds()
    eventually(lambda: Task.objects.filter(id=task_id, status="STARTED").exists())
    task = Task.objects.get(id=task_id)
    assert (task.worker, task.finished_at) == (WORKER, None)
    assert task.started_at is not None
    eventually(lambda: any(beat.name == WORKER and beat.busy == 1 for beat in heartbeat.read_all()))
    gate.open()
    assert ended(task_id).status == "SUCCESS"


def test_what_finds_no_free_slot_stays_on_the_broker(gate: Gate) -> None:
    ids = [gate.holds() for _ in range(4)]

    def statuses() -> list[str]:
        return sorted(Task.objects.filter(id__in=ids).values_list("status", flat=True))

    eventually(lambda: statuses() == ["QUEUED", "QUEUED", "STARTED", "STARTED"], but=statuses)
    assert len(messages()) == 2
    gate.open()
    eventually(lambda: set(statuses()) == {"SUCCESS"}, but=statuses)


# --- Tasks that other code sends ---


def test_a_task_sent_with_delay_appears_with_its_arguments() -> None:
    task_id = str(drill_sleep.delay(0.01).id)
    task = ended(task_id)
    assert (task.name, task.queue, task.source, task.status) == ("drill_sleep", "default", "external", "SUCCESS")
    assert (task.args, task.kwargs) == ([0.01], {})
    # The sender reports for itself, and may come last.
    eventually(lambda: steps_of(task_id) == ["QUEUED", "RECEIVED", "STARTED", "SUCCESS"], but=lambda: steps_of(task_id))
    assert Task.objects.get(id=task_id).queued_at is not None
    assert AsyncResult(task_id).get(timeout=30) == 0.01


def test_named_arguments_and_text_that_is_not_english_arrive() -> None:
    task_id = call("sample.echo", 1, "Grüße", kwargs={"nested": {"list": [1, None]}})
    assert AsyncResult(task_id).get(timeout=30) == [[1, "Grüße"], {"nested": {"list": [1, None]}}]
    assert ended(task_id).kwargs == {"nested": {"list": [1, None]}}


@pytest.mark.parametrize("headers", [{}, {DISPATCHED_HEADER: 1}], ids=["sent by other code", "dispatched"])
def test_a_task_that_a_task_sends_appears_too(headers: dict[str, int]) -> None:
    parent = call("sample.sends_another", 7, headers=headers)
    child = AsyncResult(parent).get(timeout=30)
    assert (ended(child).args, str(Task.objects.get(id=child).parent_id)) == ([7], parent)
    assert ended(parent).parent_id is None
    assert AsyncResult(child).get(timeout=30) == [[7], {}]


def test_a_task_that_a_task_dispatches_knows_its_parent_before_it_runs_and_while_it_does() -> None:
    first = call("sample.dispatches_another", 1)
    second = AsyncResult(first).get(timeout=30)
    third = AsyncResult(second).get(timeout=30)
    assert [str(ended(task).parent_id) for task in (first, second, third)] == ["None", first, second]
    assert AsyncResult(third).get(timeout=30) == [second, first], "its parent, and the first of them all"


def test_every_link_of_a_chain_is_a_child_of_the_one_before() -> None:
    link = chain(*(signature("sample.echo", [number], immutable=True) for number in range(3))).apply_async()
    ids = [link.parent.parent.id, link.parent.id, link.id]
    assert [ended(id_).status for id_ in ids] == ["SUCCESS"] * 3
    parents = dict(Task.objects.values_list("id", "parent_id"))
    assert [str(parents[UUID(id_)]) for id_ in ids] == ["None", *ids[:2]]


def test_what_a_retried_task_sends_has_the_task_for_a_parent_whichever_attempt_sent_it() -> None:
    parent = call("sample.sends_another_at_last")
    child = AsyncResult(parent).get(timeout=30)
    assert str(ended(child).parent_id) == parent
    assert ended(parent).attempt == 2


def test_a_task_whose_result_is_ignored_is_accounted_for_all_the_same() -> None:
    task_id = call("sample.ignored", 5)
    task = ended(task_id)
    assert (task.status, task.args, task.runtime is not None) == ("SUCCESS", [5], True)
    assert AsyncResult(task_id).get(timeout=30) is None


def test_what_a_task_logs_and_prints_is_kept_and_written_where_it_was(stack: Stack) -> None:
    quiet, telling = call("sample.keeps_quiet"), call("sample.tells", 7, kwargs={"password": "hunter2"})
    ended(quiet)
    task = ended(telling)
    lines = eventually(
        lambda: (found := read_forward(task).lines) and len(found) == 4 and found,
        but=lambda: f"{list(TaskLog.objects.values())}, {client().xinfo_stream('zenith:logs', full=True)}",
    )
    assert [(line.logger, line.level, line.message.partition("\n")[0]) for line in lines] == [
        ("shop.orders", "info", "order 7 with password=***"), ("tests.sample_tasks", "warning", "of Celery's logger"),
        ("celery.redirected", "warning", "printed"), ("root", "error", "it failed"),
    ]  # fmt: skip
    assert lines[-1].message.endswith("KeyError: 7")
    assert not TaskLog.objects.filter(task_id=quiet).exists()
    # What is written of lower levels depends on whether a body has set up Django's logs before (tests/unit/test_task_logs.py).
    assert "of Celery's logger" in next(process for process in stack.processes if process.name == WORKER).output


def test_progress_that_a_task_stores_does_not_stand_in_the_way_of_its_outcome() -> None:
    task_id = call("sample.progress")
    assert AsyncResult(task_id).get(timeout=30) == "done"
    assert ended(task_id).status == "SUCCESS"
    assert TaskResult.objects.get().status == "SUCCESS"


def test_how_far_a_task_is_is_known_while_it_runs_and_after_its_end(gate: Gate, tmp_path: Path) -> None:
    task_id = call("sample.steps", 2000, str(tmp_path / "gate"))
    eventually(lambda: TaskProgress.objects.filter(task=task_id, current=1999, total=2000).exists())
    task = Task.objects.select_related("progress").get(id=task_id)
    view = progress_of(task)
    assert (task.status, task.name, task.args) == ("STARTED", "sample.steps", [2000, str(tmp_path / "gate")])
    assert view is not None
    assert view.counted == "1,999 of 2,000"
    gate.open()
    assert ended(task_id).status == "SUCCESS"
    eventually(lambda: TaskProgress.objects.get(task=task_id).current == 2000)
    assert steps_of(task_id).count("STARTED") == 1


def test_a_state_of_its_own_is_known_with_what_a_task_tells() -> None:
    task_id = call("sample.progress")
    assert ended(task_id).status == "SUCCESS"
    row = eventually(lambda: TaskProgress.objects.filter(task=task_id).first())
    assert (row.state, row.meta, row.current) == ("PROGRESS", {"done": 1}, None)


def test_what_a_task_used_is_known() -> None:
    task = ended(call("sample.uses", 0.2, 96))
    assert task.cpu is not None
    assert task.cpu >= 0.2
    assert task.memory is not None
    assert task.memory > 96 * 2**20
    small = ended(call("sample.echo", 1))
    assert small.memory is not None
    assert small.memory < 400 * 2**20


# --- Failures and retries ---


def test_a_task_that_fails_twice_succeeds_at_its_third_attempt() -> None:
    (task_id,) = run("drill_fail", kwargs={"times": 2, "message": "a bad day"})
    assert AsyncResult(task_id).get(timeout=30) == "succeeded at attempt 3"
    task = ended(task_id)
    assert (task.status, task.attempt, task.error_type) == ("SUCCESS", 3, "")
    expect_retries(task_id, 2)
    retries = TaskEvent.objects.filter(task_id=task_id, status="RETRY").order_by("position")
    assert [(event.attempt, event.message) for event in retries] == [
        (1, "DrillError: a bad day"),
        (2, "DrillError: a bad day"),
    ]
    assert steps_of(task_id).count("STARTED") == 3
    assert sum(MinuteRollup.objects.values_list("retried", flat=True)) == 2


def test_a_task_without_retries_fails_for_good_with_its_traceback() -> None:
    (task_id,) = run("drill_fail", kwargs={"times": -1, "message": "always"}, max_retries=0)
    with pytest.raises(Exception, match="always") as raised:
        AsyncResult(task_id).get(timeout=30)
    assert type(raised.value).__name__ == "DrillError"
    task = ended(task_id)
    assert (task.status, task.attempt, task.error_type, task.error_message) == ("FAILURE", 1, "DrillError", "always")
    assert steps_of(task_id) == ["PENDING", "QUEUED", "RECEIVED", "STARTED", "FAILURE"]
    stored = TaskResult.objects.get()
    assert "Traceback" in stored.traceback
    assert "DrillError: always" in stored.traceback
    assert sum(MinuteRollup.objects.values_list("failed", flat=True)) == 1


def test_a_task_that_always_fails_gives_up_after_the_retries_it_was_given() -> None:
    (task_id,) = run("drill_fail", kwargs={"times": -1}, max_retries=1)
    task = ended(task_id)
    assert (task.status, task.attempt) == ("FAILURE", 2)
    expect_retries(task_id, 1)


def test_empty_text_is_not_tried_again() -> None:
    (task_id,) = run("analyze_text", data="  ")
    task = ended(task_id)
    assert (task.status, task.attempt, task.error_type) == ("FAILURE", 1, "EmptyTextError")
    assert "RETRY" not in steps_of(task_id)


def test_a_task_with_celerys_own_retry_rules_keeps_them() -> None:
    task_id = call("sample.autoretry")
    task = ended(task_id)
    assert (task.status, task.attempt, task.error_type) == ("FAILURE", 3, "ZeroDivisionError")
    expect_retries(task_id, 2)


def test_a_task_that_retries_itself_is_tracked() -> None:
    task_id = call("sample.retries_itself")
    assert AsyncResult(task_id).get(timeout=30) == "third time"
    assert ended(task_id).attempt == 3
    expect_retries(task_id, 2)


def test_a_task_over_its_hard_time_limit_fails_with_that_reason() -> None:
    task_id = call("sample.hangs")
    with pytest.raises(TimeLimitExceeded):
        AsyncResult(task_id).get(timeout=30)
    task = ended(task_id)
    assert (task.status, task.error_type, task.worker) == ("FAILURE", "TimeLimitExceeded", WORKER)
    assert steps_of(task_id)[-2:] == ["STARTED", "FAILURE"]


def test_a_revoked_task_is_recorded_as_revoked(gate: Gate) -> None:
    busy = [gate.holds() for _ in range(2)]
    eventually(lambda: Task.objects.filter(id__in=busy, status="STARTED").count() == 2)
    task_id = call("sample.echo")
    current_app.control.revoke(task_id)
    # It answers in order: now it knows.
    eventually(lambda: answers(WORKER))
    gate.open()
    task = ended(task_id)
    assert (task.status, task.name) == ("REVOKED", "sample.echo")
    assert sum(MinuteRollup.objects.values_list("revoked", flat=True)) == 1


# --- Processes that die ---


def test_a_task_whose_process_dies_runs_again(tmp_path: Path) -> None:
    task_id = call("sample.dies_once", str(tmp_path / "died"))
    assert AsyncResult(task_id).get(timeout=30) == "second life"
    task = ended(task_id)
    assert (task.status, task.attempt) == ("SUCCESS", 1)
    assert TaskResult.objects.get().status == "SUCCESS"


def test_a_task_that_kills_every_process_is_buried_with_the_reason() -> None:
    (task_id,) = run("drill_crash")
    task = ended(task_id, within=60)
    assert (task.status, task.error_type) == ("FAILURE", "PoisonTaskError")
    assert "died 3 times" in task.error_message
    lost = attempts_of(task, TaskEvent.objects.filter(task=task))[1:]
    assert [(run.status, run.worker, "its process died" in run.error_message) for run in lost] == [("QUEUED", WORKER, True)] * 3
    with pytest.raises(Exception, match="died 3 times"):
        AsyncResult(task_id).get(timeout=10)
    # The next task finds a pool that works.
    (other,) = run("analyze_text", data="Still here.")
    assert ended(other).status == "SUCCESS"


# --- Results that cannot be kept ---


@pytest.mark.parametrize(
    ("name", "args", "error_type", "words"),
    [
        ("sample.unserialisable", (), "ResultNotJSONError", "not JSON"),
        ("sample.not_a_number", (), "ResultNotJSONError", "not JSON"),
        ("sample.bulky", (1024 * 1024,), "ResultTooLargeError", "at most 1,048,576"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_the_task_with_a_clear_error(
    name: str, args: tuple[Any, ...], error_type: str, words: str
) -> None:
    task_id = call(name, *args)
    task = ended(task_id)
    assert (task.status, task.error_type) == ("FAILURE", error_type)
    assert words in task.error_message
    with pytest.raises(Exception, match=words):
        AsyncResult(task_id).get(timeout=10)
    (other,) = run("analyze_text", data="The recorder goes on.")
    assert ended(other).status == "SUCCESS"
    assert stream.unreadable_count() == 0


def test_a_result_just_within_the_limit_is_kept() -> None:
    task_id = call("sample.bulky", 1024 * 1024 - 2)
    assert len(AsyncResult(task_id).get(timeout=30)) == 1024 * 1024 - 2


def test_a_result_with_a_nul_character_is_kept() -> None:
    assert AsyncResult(call("sample.nul")).get(timeout=30) == {"text": "a\x00b"}


def test_an_error_with_a_message_of_two_megabytes_is_recorded_shortened() -> None:
    task_id = call("sample.shout", 2 * 1024 * 1024)
    task = ended(task_id)
    assert (task.status, task.error_type) == ("FAILURE", "ValueError")
    assert 1000 <= len(task.error_message) <= 10_000
    with pytest.raises(ValueError, match="xxx"):
        AsyncResult(task_id).get(timeout=10)


def test_an_error_whose_arguments_are_not_json_is_recorded() -> None:
    task_id = call("sample.odd_error")
    task = ended(task_id)
    assert (task.status, task.error_type) == ("FAILURE", "OddError")
    with pytest.raises(Exception, match="nan"):
        AsyncResult(task_id).get(timeout=10)


# --- The worker itself ---


# SIGQUIT is what containers and `manage.py up` make of SIGTERM: a cold stop, after the soft one.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_shows_itself_and_signs_off_when_it_is_stopped(stack: Stack, number: int) -> None:
    process = stack.worker("second@tests", "-Q", "default,reports", concurrency=1)
    beat = next(beat for beat in heartbeat.read_all() if beat.name == "second@tests")
    assert (beat.pid, beat.slots, beat.busy, beat.queues, beat.online) == (
        process.popen.pid, 1, 0, ("default", "reports"), True,
    )  # fmt: skip
    process.stop(number)
    assert [beat.name for beat in heartbeat.read_all()] == [WORKER]


def test_a_task_in_a_worker_that_is_told_to_stop_ends_first(stack: Stack, tmp_path: Path) -> None:
    queue = f"only-{uuid4().hex[:8]}"
    process = stack.worker("third@tests", "-Q", queue, concurrency=1)
    (task_id,) = run("drill_sleep", kwargs={"seconds": 1.0}, queue=queue)
    eventually(lambda: Task.objects.filter(id=task_id, status="STARTED").exists())
    process.stop()
    assert ended(task_id).status == "SUCCESS"


# --- Why a task waits though slots are free ---


def test_tasks_that_wait_in_a_workers_memory_are_named_where_they_keep_others_waiting(stack: Stack) -> None:
    worker = stack.worker("held@tests", "-Q", "held", concurrency=1)
    later = [call("sample.echo", queue="held", countdown=3600) for _ in range(12)]
    says(later[0], "held@tests holds it until it is due: it was sent with an ETA or a countdown.")

    current_app.control.rate_limit("sample.echo", "1/h", destination=["held@tests"], reply=True, timeout=20)
    ended(call("sample.echo", queue="held"))
    reserved = call("sample.echo", queue="held")
    says(reserved, "held@tests holds it; 1 of its kind waits there for its rate limit of 1/h.")
    (behind,) = run("drill_sleep", data=0.01, queue="held")
    says(
        behind,
        "held@tests has 1 free slot, but takes no more messages while it holds 13:"
        " 1 of sample.echo waits there for its rate limit of 1/h.",
    )
    cancel([UUID(id_) for id_ in (*later, reserved, behind)], by="the test")
    worker.stop()
    # What waits for its time would do so at the next worker as well.
    stream.client().delete("held", *(f"held\x06\x16{step}" for step in (3, 6, 9)))


def says(task_id: str, sentence: str) -> None:
    """Wait until the task's page gives this reason."""
    eventually(lambda: sentence in (said(task_id) or ""), but=lambda: (said(task_id), heartbeat.read_all()))


def said(task_id: str) -> str | None:
    task = Task.objects.filter(id=task_id).first()
    return explain_status(task) if task else None
