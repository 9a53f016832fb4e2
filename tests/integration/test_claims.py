"""Who may run a task: the scripts in Redis that decide it, each answer they give, and races for them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import uuid4

import pytest

from zenith_worker.carried import is_same_message, token_of
from zenith_worker.wire import claims, commands, keys, stream
from zenith_worker.wire.claims import Claim, Verdict, begin, cancel, finish
from zenith_worker.wire.events import Event, decode
from zenith_worker.wire.keys import CLAIM
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

RUN, TAKEN, ENDED, CANCELLED = (Claim(verdict) for verdict in (Verdict.RUN, Verdict.TAKEN, Verdict.ENDED, Verdict.CANCELLED))


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def task() -> str:
    """The id of a task."""
    return str(uuid4())


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this process stand for a run of a worker, with or without a heartbeat."""

    def become(name: str, *, alive: bool = True) -> None:
        monkeypatch.setattr(claims, "instance", lambda: name)
        if alive:
            stream.client().set(keys.ALIVE + name, "w@tests", ex=60)
        else:
            stream.client().delete(keys.ALIVE + name)

    become("one")
    return become


@pytest.fixture
def dead_pid() -> int:
    """The number of a process that ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def report(task: str, status: Status = Status.SUCCESS, *, attempt: int = 0, by: str = "t") -> bool:
    """Report an outcome; whether it counts."""
    ends = status != Status.RETRY
    return finish(Event(task_id=task, status=status, at=1.0, attempt=attempt), token=by, ends=ends)


def reports() -> list[tuple[str, int]]:
    """What a recorder would read."""
    entries = stream.client().xrange(keys.EVENTS)
    return [(event.status.value, event.attempt) for _, values in entries for event in decode(values[b"e"])]


def belongs_to(task: str, owner: str, pid: int, *, attempt: int = 0, crashes: int = 0) -> None:
    """Let a process hold a claim."""
    stream.client().set(CLAIM + task, f"R|{attempt}|{owner}|t|{pid}|{crashes}")


# --- Beginning ---


def test_a_task_that_nobody_holds_runs(task: str, worker: object) -> None:
    assert begin(task, run=RunNumber(), token="t") == RUN


def test_asking_twice_is_no_crash(task: str, worker: object) -> None:
    """An answer that got lost is asked for again."""
    assert [begin(task, run=RunNumber(), token="t") for _ in range(3)] == [RUN] * 3


def test_a_copy_is_dropped_while_another_worker_runs_the_task(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="t")
    worker("two")
    assert begin(task, run=RunNumber(), token="t") == TAKEN


def test_the_task_of_a_dead_worker_is_taken_over_and_the_crash_is_counted(task: str, worker: Callable[..., None]) -> None:
    worker("one", alive=False)
    begin(task, run=RunNumber(), token="t")
    for crashes, name in enumerate(["two", "three"], start=1):
        worker(name, alive=False)
        assert begin(task, run=RunNumber(), token="t") == Claim(Verdict.RUN, crashes)


def test_a_copy_is_dropped_while_a_sibling_process_runs_the_task(task: str, worker: object) -> None:
    belongs_to(task, "one", os.getppid())
    assert begin(task, run=RunNumber(), token="t") == TAKEN


def test_the_task_of_a_dead_sibling_process_is_taken_over_as_a_crash(task: str, worker: object, dead_pid: int) -> None:
    belongs_to(task, "one", dead_pid, crashes=1)
    assert begin(task, run=RunNumber(), token="t") == Claim(Verdict.RUN, 2)
    # The same process, asked again, counts nothing.
    assert begin(task, run=RunNumber(), token="t") == Claim(Verdict.RUN, 2)


def test_any_worker_takes_over_what_its_living_worker_gave_up_for_dead(task: str, worker: Callable[..., None]) -> None:
    belongs_to(task, "one", os.getppid())
    assert claims.abandon(task, RunNumber(), "one")
    worker("two")
    assert begin(task, run=RunNumber(), token="t") == Claim(Verdict.RUN, 1)


def test_nobody_gives_up_what_another_holds(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="t")
    claims.abandon(task, RunNumber(), "two")
    worker("two")
    assert begin(task, run=RunNumber(), token="t") == TAKEN


def test_the_next_attempt_runs_with_no_crash_to_its_name(task: str, worker: object, dead_pid: int) -> None:
    belongs_to(task, "one", dead_pid, crashes=2)
    assert begin(task, run=RunNumber(0, 1), token="t2") == RUN


def test_an_earlier_attempt_does_not_run(task: str, worker: object) -> None:
    begin(task, run=RunNumber(0, 1), token="t2")
    assert begin(task, run=RunNumber(), token="t") == ENDED


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILURE, Status.REVOKED, Status.RETRY])
def test_an_attempt_that_ended_does_not_run_again(task: str, worker: object, status: Status) -> None:
    begin(task, run=RunNumber(), token="t")
    report(task, status)
    assert begin(task, run=RunNumber(), token="other") == ENDED


def test_a_cancelled_task_does_not_run(task: str, worker: object) -> None:
    cancel(task)
    assert [begin(task, run=RunNumber(0, attempt), token="t") for attempt in (0, 3)] == [CANCELLED, CANCELLED]


# --- Ending ---


def test_an_outcome_is_reported_once(task: str, worker: object) -> None:
    begin(task, run=RunNumber(), token="t")
    assert report(task)
    assert not report(task)
    assert reports() == [("SUCCESS", 0)]


@pytest.mark.parametrize(("status", "shortest", "longest"), [(Status.RETRY, 6 * 86400, 8 * 86400), (Status.SUCCESS, 60, 3600)])
def test_the_claim_of_a_task_that_waits_is_kept_for_days_and_of_one_that_ended_for_minutes(
    task: str, worker: object, status: Status, shortest: int, longest: int
) -> None:
    begin(task, run=RunNumber(), token="t")
    report(task, status)
    assert shortest < stream.client().ttl(CLAIM + task) < longest


def test_an_outcome_counts_also_where_redis_forgot_the_claim(task: str, worker: object) -> None:
    begin(task, run=RunNumber(), token="t")
    stream.client().flushdb()
    assert report(task)


def test_the_late_outcome_of_a_worker_that_was_cut_off_does_not_count(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="t")
    worker("one", alive=False)
    worker("two")
    assert begin(task, run=RunNumber(), token="t") == Claim(Verdict.RUN, 1)
    worker("one")
    assert not report(task)
    worker("two")
    assert report(task)
    assert reports() == [("SUCCESS", 0)]


def test_the_outcome_of_another_copy_does_not_count(task: str, worker: object) -> None:
    begin(task, run=RunNumber(), token="t")
    assert not report(task, by="other")
    assert report(task)


def test_a_failure_whose_next_attempt_runs_already_is_reported_and_leaves_that_its_claim(
    task: str, worker: Callable[..., None]
) -> None:
    """The message of the next attempt leaves before the failed one is reported."""
    begin(task, run=RunNumber(), token="t")
    worker("two")
    assert begin(task, run=RunNumber(0, 1), token="t2") == RUN
    worker("one")
    assert report(task, Status.RETRY)
    assert begin(task, run=RunNumber(0, 1), token="t2") == TAKEN
    worker("two")
    assert report(task, attempt=1, by="t2")
    assert reports() == [("RETRY", 0), ("SUCCESS", 1)]


# --- Handing back ---


def test_what_is_handed_back_runs_elsewhere_and_is_no_crash(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="t")
    assert claims.release(task, RunNumber())
    worker("two")
    assert begin(task, run=RunNumber(), token="t") == RUN


def test_nobody_hands_back_what_another_holds(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="t")
    worker("two")
    claims.release(task, RunNumber())
    assert begin(task, run=RunNumber(), token="t") == TAKEN


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.RETRY])
def test_nothing_is_left_to_hand_back_of_what_was_reported(task: str, worker: object, status: Status) -> None:
    """Its process may die, or its worker stop, between the report and the acknowledgement."""
    begin(task, run=RunNumber(), token="t")
    report(task, status)
    assert not claims.release(task, RunNumber())
    assert not claims.abandon(task, RunNumber(), "one")


# --- Cancelling ---


def test_what_runs_on_a_living_worker_cannot_be_cancelled(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="t")
    worker("two")
    assert cancel(task) == Verdict.TAKEN


def test_what_a_dead_worker_ran_can_be_cancelled(task: str, worker: Callable[..., None]) -> None:
    worker("one", alive=False)
    begin(task, run=RunNumber(), token="t")
    assert cancel(task) == Verdict.CANCELLED
    worker("two")
    assert begin(task, run=RunNumber(), token="t") == CANCELLED


def test_what_waits_for_its_next_attempt_can_be_cancelled(task: str, worker: object) -> None:
    begin(task, run=RunNumber(), token="t")
    report(task, Status.RETRY)
    assert cancel(task) == Verdict.CANCELLED
    assert begin(task, run=RunNumber(0, 1), token="t2") == CANCELLED


def test_what_ended_cannot_be_cancelled(task: str, worker: object) -> None:
    begin(task, run=RunNumber(), token="t")
    report(task)
    assert cancel(task) == Verdict.ENDED


def test_cancelling_twice_is_no_harm(task: str, worker: object) -> None:
    assert [cancel(task), cancel(task)] == [Verdict.CANCELLED] * 2


def test_of_a_cancellation_and_a_start_at_the_same_moment_exactly_one_wins(worker: object) -> None:
    tasks = [str(uuid4()) for _ in range(300)]
    together = threading.Barrier(2)

    def starts(task: str) -> bool:
        together.wait(30)
        return begin(task, run=RunNumber(), token="t") == RUN

    def cancels(task: str) -> bool:
        together.wait(30)
        return cancel(task) == Verdict.CANCELLED

    with ThreadPoolExecutor(2) as pool:
        pairs = ((pool.submit(starts, task), pool.submit(cancels, task)) for task in tasks)
        outcomes = [(start.result(), cancellation.result()) for start, cancellation in pairs]
    assert all(started != cancelled for started, cancelled in outcomes)


def _ask(task: str, name: str, barrier: object, answers: object) -> None:
    claims.instance = lambda: name  # type: ignore[assignment]
    barrier.wait(30)  # type: ignore[attr-defined]
    answers.put(begin(task, run=RunNumber(), token="t").verdict.value)  # type: ignore[attr-defined]


def test_of_many_workers_that_get_copies_at_once_exactly_one_runs_the_task(task: str, worker: Callable[..., None]) -> None:
    context = multiprocessing.get_context("fork")
    names = [f"w{number}" for number in range(6)]
    for name in names:
        worker(name)
    barrier, answers = context.Barrier(len(names)), context.Queue()
    processes = [context.Process(target=_ask, args=(task, name, barrier, answers)) for name in names]
    for process in processes:
        process.start()
    verdicts = sorted(answers.get(timeout=30) for _ in names)
    for process in processes:
        process.join(30)
    assert verdicts == ["run", *["taken"] * (len(names) - 1)]


# --- Looking ---


def test_who_ended_and_who_waits_for_another_attempt_can_be_asked(worker: object) -> None:
    ended, waits, runs, unknown = (str(uuid4()) for _ in range(4))
    for task in (ended, waits, runs):
        begin(task, run=RunNumber(0, 2), token="t")
    report(ended, attempt=2)
    report(waits, Status.RETRY, attempt=2)
    asked = [ended, waits, runs, unknown]
    assert claims.has_ended(asked) == {ended}
    assert claims.failed_runs(asked) == {waits: 2}
    assert claims.has_ended([]) == set()


# --- Several deliveries in one process ---


def test_another_delivery_in_the_same_process_does_not_run_beside_the_first(task: str, worker: object) -> None:
    """Threads and greenlets share a process; kombu gives a message that comes again the same delivery tag."""
    begin(task, run=RunNumber(), token="t@1")
    assert begin(task, run=RunNumber(), token="t@2") == TAKEN


def test_a_delivery_follows_one_that_ended_in_its_process_without_an_outcome_and_without_a_crash(
    task: str, worker: object
) -> None:
    begin(task, run=RunNumber(), token="t@1")
    claims.end(task, "t@1")
    assert begin(task, run=RunNumber(), token="t@2") == RUN
    assert not report(task, by="t@1")
    assert report(task, by="t@2")


def test_a_holder_is_told_whether_its_outcome_would_count(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="t")
    assert claims.holds(task, run=RunNumber(), token="t")
    assert not claims.holds(task, run=RunNumber(), token="other")
    worker("one", alive=False)
    worker("two")
    begin(task, run=RunNumber(), token="t")
    worker("one")
    assert not claims.holds(task, run=RunNumber(), token="t")


def test_a_claim_says_for_how_long_nobody_can_take_it_over(task: str, worker: Callable[..., None]) -> None:
    assert 0 < begin(task, run=RunNumber(), token="t").lease <= 60
    worker("one", alive=False)
    assert begin(task, run=RunNumber(), token="t").lease == 0, "without a heartbeat, anybody can"


def test_an_application_has_claims_of_its_own_and_refuses_what_was_cancelled_for_it(
    task: str, worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(task, run=RunNumber(), token="t")
    commands.remember_cancelled("shop", ["cancelled"])
    monkeypatch.setattr(keys._Own, "name", "shop")
    assert begin(task, run=RunNumber(), token="other") == RUN
    assert begin("cancelled", run=RunNumber(), token="t") == CANCELLED


# --- What is no claim ---


@pytest.mark.parametrize("value", ["", "R|0|one|t|3", "R|0|one|a|b|3|0", b"\xff\xfe"])
def test_what_is_no_claim_holds_nobody_up(task: str, worker: object, value: str | bytes) -> None:
    stream.client().set(CLAIM + task, value)
    assert begin(task, run=RunNumber(), token="t") == RUN
    assert report(task)


def test_a_key_of_another_type_holds_nobody_up(task: str, worker: object) -> None:
    stream.client().rpush(CLAIM + task, "x")
    assert claims.holds(task, run=RunNumber(), token="t")
    assert claims.release(task, RunNumber())
    assert begin(task, run=RunNumber(), token="t") == RUN


def test_who_is_refused_learns_which_delivery_runs(task: str, worker: Callable[..., None]) -> None:
    begin(task, run=RunNumber(), token="tag@1")
    worker("two")
    assert begin(task, run=RunNumber(), token="tag@2").holder == "tag@1"


@pytest.mark.parametrize("tag", ["a|b", "a@b", "\ud800", "x" * 10_000, "a\n|"])
def test_any_delivery_tag_can_be_claimed_with(task: str, worker: object, tag: str) -> None:
    """With Redis as broker it is what the message's sender wrote."""
    request = SimpleNamespace(properties={"delivery_tag": tag})
    for _ in range(2):
        assert begin(task, run=RunNumber(), token=token_of(request)) == RUN
    assert not claims.holds(task, run=RunNumber(), token="other")
    assert is_same_message(token_of(request), token_of(SimpleNamespace(properties={"delivery_tag": tag})))


def test_only_the_delivery_that_runs_keeps_its_claim(task: str, worker: object) -> None:
    """One that waits for it must not: the claim of a delivery that is over would never expire."""
    begin(task, run=RunNumber(), token="t")
    stream.client().expire(CLAIM + task, 10)
    claims.renew([(task, "other"), ("nobody's", "t")])
    assert stream.client().ttl(CLAIM + task) <= 10
    claims.renew([(task, "t")])
    assert stream.client().ttl(CLAIM + task) > 10
