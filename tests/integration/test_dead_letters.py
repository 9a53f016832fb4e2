"""Dead letters: written with the failure, once, in groups; pruned by age and by number; shown on pages and in the admin."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from tasks_app.maintenance import retention
from tasks_app.maintenance.retention import prune_dead_letters
from tasks_app.models import DeadLetter, Task
from tasks_app.models.dead_letter import LetterState
from tasks_app.queries.dead_letters import DeadLetterFilter
from tasks_app.queries.lineage import lineage
from tasks_app.recording.apply import apply
from tests.failures import fail, failure, queued, succeed
from tests.waiting import eventually
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db

DECADE = timedelta(days=3650)


def test_the_last_failure_writes_a_letter_that_says_what_went_wrong() -> None:
    task = fail(message="card 4711 was declined after 30 s", name="billing.charge", queue="payments")
    letter = DeadLetter.objects.get()
    assert letter.task == task
    assert (letter.task_name, letter.queue, letter.error_type) == ("billing.charge", "payments", "CardError")
    assert letter.message == "card <n> was declined after <n> s"
    assert letter.frame == "billing/tasks.py charge"
    assert (letter.state, letter.resolved_at, letter.note) == ("OPEN", None, "")
    assert timezone.now() - letter.created_at < timedelta(seconds=10)


def test_a_failure_that_is_reported_again_writes_no_second_letter() -> None:
    task = queued()
    event = failure(task)
    apply([event, event])
    apply([event])
    apply([failure(task, delivery=1)])
    assert DeadLetter.objects.count() == 1


def test_a_letter_that_was_pruned_does_not_come_back_with_a_late_report() -> None:
    task = queued()
    apply([failure(task)])
    DeadLetter.objects.all().delete()
    apply([failure(task)])
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.RETRY, Status.REVOKED])
def test_no_other_outcome_writes_one(status: Status) -> None:
    apply([failure(queued(), status=status)])
    assert not DeadLetter.objects.exists()


def test_a_task_that_other_code_sent_gets_one_too() -> None:
    task = queued()
    Task.objects.all().delete()
    apply([failure(task, name="shop.sync", queue="shop", args=[1])])
    letter = DeadLetter.objects.get()
    assert (letter.task_name, letter.queue, letter.task.args) == ("shop.sync", "shop", [1])


def test_failures_that_differ_in_numbers_and_lines_only_belong_together() -> None:
    fail(message="order 1 is gone", line=12)
    fail(message="order 22 is gone", line=90)
    assert len({letter.fingerprint for letter in DeadLetter.objects.all()}) == 1


def test_failures_of_another_task_exception_or_message_do_not() -> None:
    fail()
    fail(name="drill_fail")
    fail(error="ValueError")
    fail(message="no funds")
    assert len({letter.fingerprint for letter in DeadLetter.objects.all()}) == 4


def test_a_message_and_a_traceback_of_any_length_are_taken() -> None:
    apply([failure(queued(), message="'" * 9000 + "x" * 9000, traceback="File " * 20_000)])
    assert DeadLetter.objects.get().frame == ""


def test_many_failures_are_written_by_one_statement() -> None:
    events = [failure(queued()) for _ in range(50)]
    with CountingQueries("tasks_app_deadletter") as counted:
        apply(events)
    assert (DeadLetter.objects.count(), counted.found) == (50, 1)


def test_a_batch_of_successes_writes_to_none_of_these_tables() -> None:
    task = queued()
    with CountingQueries("tasks_app_deadletter", "tasks_app_attempt") as counted:
        succeed(task.id)
    assert counted.found == 0


class CountingQueries:
    """Counts the statements that name one of these tables."""

    def __init__(self, *tables: str) -> None:
        self.tables = tables
        self.found = 0

    def __enter__(self) -> CountingQueries:
        self._wrapper = connection.execute_wrapper(self._look)
        self._wrapper.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._wrapper.__exit__(*error)

    def _look(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        self.found += any(table in str(sql) for table in self.tables)
        return execute(sql, params, many, context)


@pytest.mark.parametrize(
    "values",
    [{"state": "LOST"}, {"state": LetterState.REPLAYED}, {"resolved_at": timezone.now()}],
    ids=["unknown state", "decided without a time", "a time without a decision"],
)
def test_the_database_refuses_a_letter_that_contradicts_itself(values: dict[str, Any]) -> None:
    fail()
    with pytest.raises(IntegrityError), transaction.atomic():
        DeadLetter.objects.update(**values)


# --- Pruning ----------------------------------------------------------------------------------------------------------


def test_letters_beyond_their_age_are_removed_and_their_tasks_stay() -> None:
    old, young = fail(), fail()
    DeadLetter.objects.filter(task=old).update(created_at=timezone.now() - timedelta(days=91))
    assert prune_dead_letters(max_age=timedelta(days=90), max_count=10) == 1
    assert DeadLetter.objects.get().task == young
    assert Task.objects.filter(id=old.id).exists()


def test_letters_beyond_their_number_are_removed_the_oldest_first() -> None:
    tasks = [fail() for _ in range(7)]
    assert prune_dead_letters(max_age=DECADE, max_count=3, chunk=2) == 4
    assert [letter.task for letter in DeadLetter.objects.order_by("id")] == tasks[4:]


def test_what_was_decided_about_goes_before_what_waits() -> None:
    tasks = [fail() for _ in range(4)]
    DeadLetter.objects.filter(task=tasks[3]).update(state=LetterState.DISCARDED, resolved_at=timezone.now())
    assert prune_dead_letters(max_age=DECADE, max_count=3) == 1
    assert {letter.task for letter in DeadLetter.objects.all()} == set(tasks[:3])


def test_within_bounds_nothing_is_removed() -> None:
    fail()
    assert prune_dead_letters(max_age=DECADE, max_count=1) == 0


def test_the_engine_prunes_by_the_settings(transactional_db: None, settings: Any) -> None:
    settings.ZENITH_DEAD_LETTER_MAX = 1
    fail(), fail()
    stop = threading.Event()
    thread = threading.Thread(target=retention.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: DeadLetter.objects.count() == 1)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_groups_count_their_letters_the_newest_failure_first() -> None:
    for number in range(3):
        fail(message=f"order {number}")
    fail(error="ValueError")
    first = DeadLetter.objects.order_by("id").first()
    assert first is not None
    DeadLetter.objects.filter(id=first.id).update(state=LetterState.REPLAYED, resolved_at=timezone.now())
    groups = DeadLetterFilter().groups().groups
    assert [(group.error_type, group.count, group.open) for group in groups] == [("ValueError", 1, 1), ("CardError", 3, 2)]
    assert groups[1].message == "order <n>"
    assert groups[1].first_at <= groups[1].last_at


def test_lineage_goes_both_ways() -> None:
    dead = fail()
    first, second = queued(replay_of=dead), queued(replay_of=dead)
    seen = lineage(dead)
    assert (seen.replay_of, [relative.id for relative in seen.replayed_by]) == (None, [first.id, second.id])
    back = lineage(first)
    assert back.replay_of is not None
    assert (back.replay_of.id, back.replay_of.status, back.replayed_by) == (dead.id, "FAILURE", [])


def test_a_replay_outlives_the_task_it_stands_in_for() -> None:
    dead = fail()
    new = queued(replay_of=dead)
    dead.delete()
    new.refresh_from_db()
    assert (new.replay_of_id, lineage(new).replay_of) == (None, None)


def test_the_pages_of_both_link_to_each_other(admin: Any) -> None:
    dead = fail()
    new = queued(replay_of=dead)
    client = Client()
    client.force_login(admin)
    assert f'href="/tasks/{new.id}/"' in client.get(f"/tasks/{dead.id}/").content.decode()
    page = client.get(f"/tasks/{new.id}/").content.decode()
    assert "Replay of" in page
    assert f'href="/tasks/{dead.id}/"' in page


# --- Admin ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["attempt", "deadletter", "replayrun"])
def test_the_admin_shows_them_and_changes_nothing(admin: Any, name: str) -> None:
    fail()
    client = Client()
    client.force_login(admin)
    assert client.get(f"/admin/tasks_app/{name}/").status_code == 200
    assert client.get(f"/admin/tasks_app/{name}/add/").status_code == 403


@pytest.mark.parametrize(("action", "state"), [("replay_chosen", "REPLAYED"), ("discard_chosen", "DISCARDED")])
def test_the_admin_decides_about_those_that_are_chosen(admin: Any, action: str, state: str) -> None:
    chosen, other = fail(), fail()
    client = Client()
    client.force_login(admin)
    form = {"action": action, "_selected_action": [DeadLetter.objects.get(task=chosen).pk]}
    assert client.post("/admin/tasks_app/deadletter/", form).status_code == 302
    assert {letter.task: letter.state for letter in DeadLetter.objects.all()} == {chosen: state, other: "OPEN"}


def test_a_failure_in_the_middle_of_a_batch_leaves_no_letter_behind() -> None:
    task = queued()
    broken = Event(task_id="broken", status=Status.SUCCESS, at=time.time(), meta="\x00")
    with pytest.raises(DataError, match="NUL"), transaction.atomic():
        apply([failure(task), broken])
    assert not DeadLetter.objects.exists()
