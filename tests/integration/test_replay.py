"""Replaying: a new task for each letter, once; edited, a few first, slowly; by several engines, and from a terminal."""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tasks_app.dispatch import replay as replaying
from tasks_app.dispatch import replay_runner
from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import Replay, Replayed, discard, replay
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Batch, DeadLetter, ReplayRun, Task, TaskEvent
from tasks_app.models.dead_letter import Selection
from tests.failures import fail, failure, succeed
from tests.waiting import eventually
from zenith_site.common.errors import InvalidInputError

ANN = Origin(source="api", sent_by="ann")
ALL = Selection()


@pytest.fixture(autouse=True)
def kept_from_the_broker(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Nothing is sent: what is asked to be published is noted here."""
    published: list[UUID] = []
    monkeypatch.setattr("tasks_app.dispatch.create.publish_batch", published.append)
    return published


def one(task: Task, **how: Any) -> Replayed:
    return replay(Replay(selection=Selection(task_ids=[task.id]), **how), ANN)


def new_of(task: Task) -> Task:
    return Task.objects.get(replay_of=task)


def states() -> list[str]:
    return list(DeadLetter.objects.order_by("id").values_list("state", flat=True))


# --- One, many, a group, a filter -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_replay_is_a_new_task_like_the_dead_one() -> None:
    dead = fail(
        args=["a text"], kwargs={}, priority=7, queue="reports", max_retries=5, time_limit=90, soft_time_limit=60,
        expires_at=timezone.now(),
    )  # fmt: skip
    result = one(dead)
    new = new_of(dead)
    assert [(item.dead, item.new) for item in result.done] == [(dead.id, new.id)]
    same = ("name", "args", "kwargs", "priority", "queue", "max_retries", "time_limit", "soft_time_limit")
    assert [getattr(new, name) for name in same] == [getattr(dead, name) for name in same]
    assert (new.status, new.source, new.attempt, new.error_type, new.expires_at) == ("PENDING", "api", 1, "", None)
    assert TaskEvent.objects.get(task=new).status == "PENDING"


@pytest.mark.django_db
def test_the_letter_says_who_replayed_it_and_the_dead_task_stays_as_it_was() -> None:
    dead = fail()
    one(dead)
    letter = DeadLetter.objects.get()
    assert (letter.state, letter.resolved_by) == ("REPLAYED", "ann")
    assert letter.resolved_at is not None
    dead.refresh_from_db()
    assert dead.status == "FAILURE"


def test_it_is_published_once_it_is_committed(transactional_db: None, kept_from_the_broker: list[UUID]) -> None:
    dead = fail()
    with transaction.atomic():
        one(dead)
        assert kept_from_the_broker == []
    assert kept_from_the_broker == [new_of(dead).batch_id]


@pytest.mark.django_db
def test_a_letter_is_replayed_once_unless_that_is_forced() -> None:
    dead = fail()
    one(dead)
    again = one(dead)
    assert (list(again.done), again.passed_over) == ([], 1)
    assert len(one(dead, forced=True).done) == 1
    assert Task.objects.filter(replay_of=dead).count() == 2


@pytest.mark.django_db
def test_a_discarded_letter_is_not_replayed_unless_that_is_forced() -> None:
    dead = fail()
    discard(ALL, "", ANN)
    assert list(one(dead).done) == []
    assert len(one(dead, forced=True).done) == 1
    assert states() == ["REPLAYED"]


@pytest.mark.django_db
@pytest.mark.parametrize("part", ["task_ids", "fingerprint", "task_name", "error_type"])
def test_only_what_is_meant_is_replayed(part: str) -> None:
    meant, _ = fail(), fail(name="drill_fail", error="ValueError", message="other")
    letter = DeadLetter.objects.get(task=meant)
    value = [meant.id] if part == "task_ids" else getattr(letter, part)
    result = replay(Replay(selection=Selection(**{part: value})), ANN)
    assert [item.dead for item in result.done] == [meant.id]
    assert states() == ["REPLAYED", "OPEN"]


@pytest.mark.django_db
def test_an_empty_list_of_ids_means_none_and_not_all() -> None:
    fail()
    nothing = Selection(task_ids=[])
    assert list(replay(Replay(selection=nothing), ANN).done) == []
    assert discard(nothing, "", ANN) == 0
    assert states() == ["OPEN"]


@pytest.mark.django_db
def test_many_of_one_task_are_one_batch_and_of_two_tasks_two() -> None:
    for _ in range(3):
        fail()
    fail(name="drill_fail", args=[], kwargs={"times": 0})
    assert len(replay(Replay(selection=ALL), ANN).done) == 4
    assert sorted(Batch.objects.values_list("task_name", "size", "sent_by")) == [
        ("analyze_text", 3, "ann"),
        ("drill_fail", 1, "ann"),
    ]


@pytest.mark.django_db
def test_what_matches_nothing_replays_nothing() -> None:
    fail()
    result = replay(Replay(selection=Selection(error_type="KeyError"), first=1), ANN)
    assert (list(result.done), result.run, states()) == ([], None, ["OPEN"])


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_letters(django_assert_num_queries: Any) -> None:
    def queries() -> int:
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as captured:
            replay(Replay(selection=ALL), ANN)
        return len(captured)

    fail()
    few = queries()
    for _ in range(20):
        fail()
    assert queries() == few


@pytest.mark.django_db
def test_a_replay_that_fails_again_is_a_letter_of_its_own_and_the_chain_shows() -> None:
    dead = fail()
    one(dead)
    from tasks_app.recording.apply import apply

    apply([failure(new_of(dead))])
    one(new_of(dead))
    assert new_of(new_of(dead)).status == "PENDING"


# --- Edited arguments -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "args", "kwargs", "edit", "expected"),
    [
        ("analyze_text", ["old"], {}, {"kwargs": {"data": "new"}}, (["new"], {})),
        ("analyze_text", [], {"data": "old"}, {"kwargs": {"data": "new"}}, ([], {"data": "new"})),
        ("analyze_text", ["old"], {}, {"args": ["new"]}, (["new"], {})),
        ("drill_fail", [1], {}, {"kwargs": {"message": "x"}}, ([1], {"message": "x"})),
        ("drill_fail", [1, "old"], {}, {"kwargs": {"message": "x", "times": 2}}, ([2, "x"], {})),
        ("unknown.task", [1], {"a": 1}, {"kwargs": {"a": 2, "b": 3}}, ([1], {"a": 2, "b": 3})),
    ],
)  # fmt: skip
def test_edited_arguments_take_the_place_of_the_old(
    name: str, args: list[Any], kwargs: dict[str, Any], edit: dict[str, Any], expected: Any
) -> None:
    dead = fail(name=name, args=args, kwargs=kwargs)
    one(dead, **edit)
    assert (new_of(dead).args, new_of(dead).kwargs) == expected


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("how", "pointer"),
    [
        ({"kwargs": {"text": "x"}}, "/kwargs/text"),
        ({"kwargs": {"data": 7}}, "/args/0"),
        ({"args": ["a", "b"]}, "/args/1"),
        ({"kwargs": {"data": "\x00"}}, "/kwargs/data"),
        ({"args": [float("nan")]}, "/args/0"),
        ({"first": -1}, "/first"),
        ({"first": replaying.MAX_FIRST + 1}, "/first"),
        ({"rate": 0}, "/rate"),
        ({"rate": float("inf")}, "/rate"),
    ],
)
def test_what_cannot_be_is_named_and_nothing_is_written(how: dict[str, Any], pointer: str) -> None:
    dead = fail()
    with pytest.raises(InvalidDispatchError) as refused:
        one(dead, **how)
    assert [problem.pointer for problem in refused.value.problems] == [pointer]
    assert states() == ["OPEN"]
    assert not Task.objects.filter(replay_of=dead).exists()


@pytest.mark.django_db
def test_an_edit_must_fit_every_task_that_gets_it() -> None:
    fail()
    fail(name="drill_fail", args=[], kwargs={})
    with pytest.raises(InvalidDispatchError, match="/kwargs/times"):
        replay(Replay(selection=ALL, kwargs={"times": 1}), ANN)
    assert states() == ["OPEN", "OPEN"]


@pytest.mark.django_db
def test_positional_arguments_are_edited_for_one_letter_only() -> None:
    fail()
    fail()
    with pytest.raises(InvalidDispatchError, match="single dead letter only"):
        replay(Replay(selection=ALL, args=["x"]), ANN)


# --- Discarding -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_discarding_keeps_the_note_and_passes_over_what_was_decided() -> None:
    dead, _ = fail(), fail()
    one(dead)
    assert discard(ALL, "known, fixed in 2.1", ANN) == 1
    assert states() == ["REPLAYED", "DISCARDED"]
    letter = DeadLetter.objects.get(state="DISCARDED")
    assert (letter.note, letter.resolved_by) == ("known, fixed in 2.1", "ann")
    assert discard(ALL, "again", ANN) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("note", ["x" * (replaying.MAX_NOTE + 1), "\x00", "\ud800"])
def test_a_note_that_cannot_be_stored_is_refused(note: str) -> None:
    fail()
    with pytest.raises(InvalidInputError, match="/note"):
        discard(ALL, note, ANN)


# --- Two at once ------------------------------------------------------------------------------------------------------


def at_once(*calls: Any) -> list[Any]:
    """Run calls in threads that start together, each with a connection of its own; return what they returned."""
    results: list[Any] = [None] * len(calls)
    together = threading.Barrier(len(calls))

    def work(index: int) -> None:
        try:
            together.wait(10)
            results[index] = calls[index]()
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_two_who_replay_the_same_letters_at_once_replay_each_once(transactional_db: None) -> None:
    tasks = [fail() for _ in range(30)]
    results = at_once(*[lambda: replay(Replay(selection=ALL), ANN)] * 4)
    assert sum(len(result.done) for result in results) == 30
    assert Task.objects.filter(replay_of__in=tasks).count() == 30


def test_of_a_replay_and_a_discard_at_once_one_wins_for_each_letter(transactional_db: None) -> None:
    for _ in range(30):
        fail()
    result, discarded = at_once(lambda: replay(Replay(selection=ALL), ANN), lambda: discard(ALL, "", ANN))
    assert len(result.done) + discarded == 30
    assert states().count("REPLAYED") == Task.objects.exclude(replay_of=None).count() == len(result.done)


# --- Runs -------------------------------------------------------------------------------------------------------------


def start(**how: Any) -> ReplayRun:
    run = replay(Replay(selection=how.pop("selection", ALL), **how), ANN).run
    assert run is not None
    return run


def work(run: ReplayRun) -> ReplayRun:
    """Take every run that is due as far as it goes now."""
    while replay_runner.step():
        pass
    run.refresh_from_db()
    return run


def later(run: ReplayRun) -> None:
    """Let the run's next look be due."""
    ReplayRun.objects.filter(id=run.id).update(next_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_a_few_go_first_and_the_rest_follows_once_all_of_them_succeeded() -> None:
    tasks = [fail() for _ in range(5)]
    run = work(start(first=2))
    assert (run.state, run.replayed, run.total) == ("WATCHING", 2, 5)
    assert states() == ["REPLAYED", "REPLAYED", "OPEN", "OPEN", "OPEN"]
    succeed(new_of(tasks[0]).id)
    later(run)
    assert work(run).state == "WATCHING"
    succeed(new_of(tasks[1]).id)
    later(run)
    run = work(run)
    assert (run.state, run.replayed, run.reason) == ("DONE", 5, "")
    assert run.finished_at is not None
    assert set(states()) == {"REPLAYED"}


@pytest.mark.django_db
@pytest.mark.parametrize("what", ["fails", "is gone"])
def test_the_rest_stays_as_it_is_when_one_of_the_first(what: str) -> None:
    from tasks_app.recording.apply import apply

    tasks = [fail() for _ in range(4)]
    run = work(start(first=2))
    succeed(new_of(tasks[0]).id)
    if what == "fails":
        apply([failure(new_of(tasks[1]))])
    else:
        new_of(tasks[1]).delete()
    later(run)
    run = work(run)
    assert (run.state, run.reason) == ("STOPPED", "1 of the first 2 did not succeed; the rest was not replayed.")
    assert states()[:4] == ["REPLAYED", "REPLAYED", "OPEN", "OPEN"]
    later(run)
    assert work(run).replayed == 2


@pytest.mark.django_db
def test_more_first_than_there_are_is_all_of_them() -> None:
    task = fail()
    run = work(start(first=10))
    succeed(new_of(task).id)
    later(run)
    assert work(run).state == "DONE"


@pytest.mark.django_db
def test_at_a_rate_a_chunk_waits_for_its_turn() -> None:
    for _ in range(12):
        fail()
    before = timezone.now()
    run = work(start(rate=10))
    assert run.replayed == 5
    assert run.next_at - before >= timedelta(seconds=0.5)
    later(run)
    assert work(run).replayed == 10
    later(run)
    later(work(run))
    assert work(run).state == "DONE"


@pytest.mark.django_db
def test_a_slow_rate_replays_one_at_a_time() -> None:
    fail()
    fail()
    before = timezone.now()
    run = work(start(rate=0.1))
    assert run.replayed == 1
    assert run.next_at - before >= timedelta(seconds=10)


@pytest.mark.django_db
def test_very_many_become_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "AT_ONCE", 2)
    monkeypatch.setattr(replay_runner, "AT_ONCE", 2)
    for _ in range(5):
        fail()
    run = work(start())
    assert (run.state, run.replayed) == ("DONE", 5)


@pytest.mark.django_db
def test_a_run_does_not_chase_the_failures_of_its_own_replays() -> None:
    from tasks_app.recording.apply import apply

    dead = fail()
    fail()
    run = start(rate=1)
    work(run)
    apply([failure(new_of(dead))])
    for _ in range(3):
        later(run)
        work(run)
    assert (work(run).state, run.replayed) == ("DONE", 2)
    assert states() == ["REPLAYED", "REPLAYED", "OPEN"]


@pytest.mark.django_db
def test_a_run_keeps_to_its_selection_its_edits_and_who_asked() -> None:
    meant = fail()
    fail(error="ValueError")
    run = work(start(selection=Selection(error_type="CardError"), rate=100, kwargs={"data": "new"}))
    new = new_of(meant)
    assert (run.replayed, new.args, new.source) == (1, ["new"], "api")
    assert Batch.objects.get(id=new.batch_id).sent_by == "ann"
    assert states() == ["REPLAYED", "OPEN"]


@pytest.mark.django_db
def test_a_forced_run_replays_what_was_replayed_before() -> None:
    dead = fail()
    one(dead)
    run = start(rate=100, forced=True)
    work(run)
    later(run)
    assert (work(run).state, run.replayed) == ("DONE", 1)
    assert Task.objects.filter(replay_of=dead).count() == 2


@pytest.mark.django_db
def test_a_run_can_be_stopped_once() -> None:
    fail()
    fail()
    run = work(start(rate=0.1))
    assert replaying.stop_run(run.id, ANN)
    assert not replaying.stop_run(run.id, ANN)
    later(run)
    run = work(run)
    assert (run.state, run.reason, run.replayed) == ("STOPPED", "Stopped by ann.", 1)


def test_several_engines_share_a_run_and_replay_each_letter_once(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_runner, "AT_ONCE", 3)
    tasks = [fail() for _ in range(40)]
    runs = [start(rate=10_000, selection=Selection(task_ids=[task.id for task in part])) for part in (tasks[:20], tasks[20:])]

    def engine() -> None:
        while ReplayRun.objects.exclude(state="DONE").exists():
            replay_runner.step()

    at_once(engine, engine, engine)
    assert [(run.state, run.replayed) for run in ReplayRun.objects.all()] == [("DONE", 20)] * 2
    assert Task.objects.filter(replay_of__in=tasks).count() == 40
    assert len(runs) == 2


def test_the_engines_loop_works_off_what_is_asked_until_it_is_told_to_stop(transactional_db: None) -> None:
    for _ in range(3):
        fail()
    run = start(rate=1000)
    stop = threading.Event()

    def loop() -> None:
        replay_runner.run(stop)
        connection.close()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        eventually(lambda: ReplayRun.objects.get(id=run.id).state == "DONE")
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert states() == ["REPLAYED"] * 3


def test_an_engine_that_dies_half_way_has_done_nothing(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fail()
    run = start(rate=1)
    with monkeypatch.context() as patched:
        patched.setattr(ReplayRun, "save", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            replay_runner.step()
    assert states() == ["OPEN"]
    assert not Task.objects.exclude(replay_of=None).exists()
    assert work(run).replayed == 1


@pytest.mark.django_db
@pytest.mark.parametrize("values", [{"state": "LOST"}, {"state": "DONE"}, {"finished_at": timezone.now()}, {"rate": 0}])
def test_the_database_refuses_a_run_that_contradicts_itself(values: dict[str, Any]) -> None:
    fail()
    start(first=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        ReplayRun.objects.update(**values)


# --- manage.py replay -------------------------------------------------------------------------------------------------


@pytest.fixture
def command(db: None) -> Any:
    def call(*arguments: object) -> str:
        out = StringIO()
        call_command("replay", *map(str, arguments), stdout=out)
        return out.getvalue()

    return call


def test_the_command_replays_by_id(command: Any) -> None:
    dead, _ = fail(), fail()
    text = command(dead.id, "--yes")
    assert f"{dead.id} -> {new_of(dead).id}" in text
    assert "1 replayed" in text
    assert states() == ["REPLAYED", "OPEN"]


def test_the_command_replays_a_group_and_prints_json(command: Any) -> None:
    dead, _ = fail(), fail(error="ValueError")
    group = DeadLetter.objects.get(task=dead).fingerprint
    answer = json.loads(command("--group", group, "--kwargs", '{"data": "new"}', "--yes", "--json"))
    assert answer == {
        "replayed": 1, "passed_over": 0, "run": None,
        "tasks": [{"task_id": str(new_of(dead).id), "replay_of": str(dead.id)}],
    }  # fmt: skip
    assert new_of(dead).args == ["new"]


def test_the_command_narrows_all_by_task_and_error(command: Any) -> None:
    fail(), fail(error="ValueError"), fail(name="drill_fail", error="ValueError")
    command("--all", "--task", "analyze_text", "--error", "ValueError", "--yes")
    assert states() == ["OPEN", "REPLAYED", "OPEN"]


def test_a_dry_run_only_counts(command: Any) -> None:
    fail(), fail()
    assert command("--all", "--dry-run") == "2 dead letters would be replayed\n"
    assert json.loads(command("--all", "--dry-run", "--json")) == {"matching": 2}
    assert states() == ["OPEN", "OPEN"]


def test_the_command_hands_a_slow_or_careful_replay_to_the_engine(command: Any) -> None:
    fail(), fail()
    text = command("--all", "--first", 1, "--rate", 2.5, "--yes")
    run = ReplayRun.objects.get()
    assert (run.first, run.rate, run.source) == (1, 2.5, "command")
    assert f"run {run.id}" in text
    assert "2 dead letters" in text


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ((), 2, "say which"),
        (("--all", "--group", "x"), 2, "say which"),
        (("--group", "nothing", "--yes"), 1, "no dead letter matches"),
        (("--all",), 2, "add --yes"),
        (("--all", "--yes", "--rate", "-1"), 2, "/rate"),
        (("--all", "--yes", "--kwargs", '{"text": 1}'), 2, "/kwargs/text"),
    ],
)
def test_the_command_says_why_it_does_nothing(command: Any, arguments: Any, status: int, text: str) -> None:
    fail()
    with pytest.raises(CommandError, match=text) as refused:
        command(*arguments)
    assert refused.value.returncode == status
    assert states() == ["OPEN"]


@pytest.mark.parametrize(("answer", "state"), [("y", "REPLAYED"), ("YES", "REPLAYED"), ("", "OPEN"), ("no", "OPEN")])
def test_at_a_terminal_it_asks_and_says_the_count(command: Any, monkeypatch: pytest.MonkeyPatch, answer: str, state: str) -> None:
    fail(), fail()
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    refused = pytest.raises(CommandError, match="nothing was replayed") if state == "OPEN" else nullcontext()
    with refused:
        command("--all")
    assert asked == ["Replay 2 dead letters? [y/N] "]
    assert states() == [state] * 2
