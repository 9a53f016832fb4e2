"""What a task tells of how far it is: reported first at once, then twice a second at most, and bounded whatever it is."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.exceptions import SoftTimeLimitExceeded

import zenith_worker
from tasks_app.models import TaskProgress
from tasks_app.queries.progress import Pace, ProgressView, pace
from tests.waiting import eventually
from zenith_worker import progress_reports
from zenith_worker.carried import carried
from zenith_worker.progress_reports import EVERY, SAMPLES, ProgressReport, end, report_state
from zenith_worker.reporting_backend import with_reports
from zenith_worker.reports import Reports
from zenith_worker.wire.events import Event, decode, encode
from zenith_worker.wire.progress import META_KEPT, Progress
from zenith_worker.wire.states import Status


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Told(Reports):
    """Keeps what is reported."""

    def __init__(self) -> None:
        super().__init__(self)  # type: ignore[arg-type]
        self.events: list[Event] = []

    def add(self, *events: Event) -> None:
        self.events += events

    @property
    def steps(self) -> list[Any]:
        return [event.progress and event.progress["current"] for event in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def report(told: Told, clock: Clock) -> ProgressReport:
    return ProgressReport(told.add, {"task_id": "t1", "attempt": 1, "name": "shop.total", "args": [1]}, clock=clock)


@pytest.fixture
def request_(monkeypatch: pytest.MonkeyPatch) -> Context:
    """The request of a running task. No thread sends what waits: a test says when."""
    monkeypatch.setattr(progress_reports._flusher, "follow", lambda report: None)
    request = Context(id="t1", hostname="w1", retries=2, is_eager=False, args=[5], kwargs={}, task="shop.total")
    carried(request).start()
    return request


def bounded(**told: Any) -> Progress:
    """What a recorder reads of it."""
    (event,) = decode(encode([Event(task_id="t1", status=Status.STARTED, at=1.0, progress=told)]))
    return Progress.of(event.progress or {})


def state(told: Told, request: Any, meta: Any, name: Any = "PROGRESS", task_id: str = "t1") -> dict[str, Any]:
    """What is reported of `update_state`, once its time has come."""
    before = len(told.events)
    report_state(told.add, task_id, meta, name, request)
    end(request)
    return told.events[-1].progress or {} if len(told.events) > before else {}


# --- Coalescing ---


def test_the_first_report_goes_at_once_and_the_next_when_their_time_has_come(
    report: ProgressReport, told: Told, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_reports._flusher, "follow", lambda report: None)
    for step in range(1000):
        report.tell(step, 1000)
        clock.now += EVERY / 100
    assert told.steps == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900] or len(told.steps) in range(10, 12)
    report.send()
    assert told.steps[-1] == 999
    report.send()
    assert told.steps.count(999) == 1


def test_only_the_first_report_of_a_run_tells_again_what_the_task_was_sent_with(report: ProgressReport, told: Told) -> None:
    report.tell(1, 9)
    report.tell(2, 9)
    report.send()
    first, second = told.events
    assert (first.status, first.attempt, first.name, first.args) == (Status.STARTED, 1, "shop.total", [1])
    assert (second.status, second.attempt, second.name, second.args) == (Status.STARTED, 1, "", None)


def test_what_waits_is_sent_by_a_thread_if_the_task_says_nothing_more(told: Told) -> None:
    report = ProgressReport(told.add, {"task_id": "t1"})
    report.tell(1, 9)
    report.tell(2, 9)
    eventually(lambda: told.steps == [1, 2])
    eventually(lambda: report not in progress_reports._flusher._followed)


def test_many_threads_tell_without_losing_the_newest(told: Told) -> None:
    report = ProgressReport(told.add, {"task_id": "t1"})
    threads = [threading.Thread(target=lambda: [report.tell(step, 100) for step in range(101)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.send()
    assert told.steps[0] == 0
    assert told.steps[-1] == 100
    assert len(told.steps) < 50


def test_the_newest_is_reported_before_the_outcome(told: Told, request_: Context) -> None:
    backend = with_reports(DisabledBackend(app=Celery("shop", set_as_current=False, broker="memory://")), told)
    for step in (1, 2, 3):
        backend.store_result("t1", {"current": step, "total": 3}, "PROGRESS", request=request_)
    backend.mark_as_done("t1", "done", request_)
    assert [(event.status.value, event.progress and event.progress["current"]) for event in told.events] == [
        ("STARTED", 1), ("STARTED", 3), ("SUCCESS", None),
    ]  # fmt: skip
    assert {event.attempt for event in told.events} == {2}
    assert told.events[0].started_at == carried(request_).started_at


def test_celerys_own_states_and_eager_tasks_tell_nothing(told: Told, request_: Context) -> None:
    for name in ("PENDING", "STARTED", "SUCCESS", "FAILURE", "RETRY", "REVOKED", "IGNORED", "REJECTED", None, 7, ["PROGRESS"]):
        report_state(told.add, "t1", {"current": 1}, name, request_)
    report_state(told.add, "t1", {"current": 1}, "PROGRESS", Context(id="t1", is_eager=True))
    assert not told.events


def test_a_state_that_is_set_for_another_task_is_that_tasks(told: Told, request_: Context) -> None:
    report_state(told.add, "t2", {"current": 1}, "PROGRESS", request_)
    report_state(told.add, "t3", {"current": 2}, "PROGRESS", None)
    assert [(event.task_id, event.attempt, event.progress and event.progress["by"]) for event in told.events] == [
        ("t2", 0, "t1"), ("t3", 0, ""),
    ]  # fmt: skip


def test_one_task_that_sets_the_states_of_very_many_keeps_few(
    told: Told, request_: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_reports, "OTHERS", 5)
    for number in range(50):
        report_state(told.add, f"other-{number}", {"current": 1}, "PROGRESS", request_)
    assert len(told.events) == 50
    assert len(carried(request_).progress or {}) <= 6


# --- A loop ---


def test_outside_of_a_task_a_loop_only_yields() -> None:
    assert list(zenith_worker.progress([1, 2, 3])) == [1, 2, 3]
    assert list(zenith_worker.progress(iter("ab"), total=2)) == ["a", "b"]


def looped(told: Told, body: Any) -> list[Any]:
    """Run a body as a task of an application that reports to `told`; return its counts."""
    app = Celery("shop", broker="memory://", set_as_current=False)

    def run() -> Any:
        return body()

    task = app.task(run, name="shop.loop")
    app._local.backend = with_reports(DisabledBackend(app=app), told)
    from celery._state import _task_stack

    _task_stack.push(task)
    task.push_request(id="t1", is_eager=False, hostname="w1", args=[], kwargs={})
    try:
        carried(task.request).start()
        body()
        end(task.request)
    finally:
        task.pop_request()
        _task_stack.pop()
    return told.steps


def test_a_loop_tells_its_beginning_and_its_end_and_of_a_million_steps_few(told: Told) -> None:
    counts = looped(told, lambda: [None for _ in zenith_worker.progress(range(1_000_000))])
    assert counts[0] == 0
    assert counts[-1] == 1_000_000
    assert counts == sorted(counts)
    assert [event.at for event in told.events] == sorted({event.at for event in told.events})
    assert len(counts) < 100
    assert {event.progress["total"] for event in told.events if event.progress} == {1_000_000}


def test_of_loops_in_a_loop_the_outermost_is_counted(told: Told) -> None:
    def body() -> None:
        for _ in zenith_worker.progress(range(3)):
            assert list(zenith_worker.progress(range(50))) == list(range(50))

    assert looped(told, body)[-1] == 3


def test_a_loop_that_is_left_early_stays_where_it_was(told: Told) -> None:
    def body() -> None:
        for item in zenith_worker.progress(iter(range(9)), total=9):
            if item == 4:
                break

    assert looped(told, body)[-1] == 4


def test_an_iterable_whose_length_cannot_be_asked_for_has_no_total(told: Told) -> None:
    class Odd:
        def __len__(self) -> int:
            raise RuntimeError("no length")

        def __iter__(self) -> Any:
            return iter([1, 2])

    assert looped(told, lambda: list(zenith_worker.progress(Odd())))[-1] == 2
    assert {event.progress["total"] for event in told.events if event.progress} == {None}


def test_a_soft_time_limit_stays_the_bodys_own(request_: Context) -> None:
    def interrupted(event: Event) -> None:
        raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        report_state(interrupted, "t1", {"current": 1}, "PROGRESS", request_)


def test_a_report_that_cannot_be_made_is_left_out(request_: Context, caplog: pytest.LogCaptureFixture) -> None:
    def refused(event: Event) -> None:
        raise RuntimeError("no report")

    report_state(refused, "t1", {"current": 1}, "PROGRESS", request_)
    assert "could not be reported" in caplog.text


# --- Odd values ---


class Hostile:
    def __repr__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("current", "total", "expected"),
    [
        (1, 2, (1, 2)), (0.25, 1.0, (0.25, 1.0)), (0, None, (0, None)), (5, 3, (5, None)), (5, 0, (5, None)), (-1, 3, (None, 3)),
        (float("nan"), 3, (None, 3)), (float("inf"), 3, (None, 3)), (3, float("inf"), (3, None)), (10**400, 3, (None, 3)),
        (3, 10**400, (3, None)), ("3", "9", (None, None)), (True, 2, (None, 2)), ([1], {}, (None, None)), (1, -9, (1, None)),
        (Decimal(1), 2, (None, 2)), (None, None, (None, None)),
    ],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_a_count_that_is_none_is_set_aside(current: Any, total: Any, expected: Any, told: Told, request_: Context) -> None:
    reported = state(told, request_, {"current": current, "total": total})
    assert (reported["current"], reported["total"]) == expected
    hostile = Progress.of({"current": current, "total": total})
    assert (hostile.current, hostile.total) == expected


@pytest.mark.parametrize(
    ("meta", "contains"),
    [
        ({"note": "half"}, "half"), ("text", "text"), (None, None), (["a", 1], "a"), ({"big": "x" * 2**20}, "xxx"),
        (object(), "object"),
        ({("a", 1): 2}, "('a', 1)"), ({"nan": float("nan")}, "nan"), (Hostile(), "Unrepresentable"), ({"n": 10**600}, "10000"),
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, "2026"), (json.loads("[" * 500 + "]" * 500), "["), ({"s": "\ud800"}, "s"),
    ],
)  # fmt: skip
def test_whatever_else_a_task_tells_is_json_of_bounded_size(
    meta: Any, contains: str | None, told: Told, request_: Context
) -> None:
    reported = state(told, request_, meta, name="LOADING")
    assert len(json.dumps(reported["meta"])) <= META_KEPT
    assert reported["state"] == "LOADING"
    assert contains is None or contains in json.dumps(reported["meta"], ensure_ascii=False)
    assert bounded(**reported).meta == reported["meta"]


def test_a_structure_that_contains_itself_is_told_as_text(told: Told, request_: Context) -> None:
    meta: dict[str, Any] = {"current": 1}
    meta["self"] = meta
    assert state(told, request_, meta)["current"] == 1


@pytest.mark.parametrize(
    "odd",
    [
        {}, {"state": 7, "by": 9, "samples": "x", "earlier": "never"}, {"earlier": [1]},
        {"earlier": [float(2**60), 1], "samples": -1},
        {"earlier": [None, None]}, {"state": "S" * 5000, "samples": 10**9}, {"meta": {"a": [[[1]]]}},
        {"current": {}, "total": []},
    ],
)  # fmt: skip
def test_a_recorder_reads_whatever_lies_in_an_entry(odd: dict[str, Any]) -> None:
    read = bounded(**odd)
    assert len(read.state) <= 100
    assert read.samples in range(1001)
    assert read.earlier is None or read.earlier[0] < 253_402_300_800


# --- The pace ---

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def row(
    current: float | None, earlier: float | None, *, seconds: float = 10.0, samples: int = 11, ago: float = 0.0, **more: Any
) -> Any:
    at = NOW - timedelta(seconds=ago)
    return TaskProgress(
        current=current, earlier_current=earlier, at=at, samples=samples,
        earlier_at=None if earlier is None else at - timedelta(seconds=seconds), **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("progress", "rate", "left"),
    [
        (row(60, 40, total=100), 2.0, 20.0),
        (row(60, 40, total=100, ago=1.0), 2.0, 19.0),
        # It has said nothing for five times as long as usual.
        (row(60, 40, total=100, ago=10.0), 1.0, 40.0),
        (row(60, 40), 2.0, None),
        (row(100, 40, total=100), 6.0, 0.0),
        # Its worker's clock is ahead.
        (row(60, 40, total=100, ago=-300.0), 2.0, 20.0),
    ],
)
def test_a_rate_is_that_of_the_recent_reports(progress: Any, rate: float, left: float | None) -> None:
    assert pace(progress, NOW) == Pace(rate, left)


@pytest.mark.parametrize(
    "progress",
    [
        row(60, None, total=100), row(None, None), row(60, 40, samples=2), row(60, 40, seconds=1.0), row(60, 60), row(40, 60),
        row(60, 40, samples=0),
    ],
)  # fmt: skip
def test_before_there_is_enough_no_rate_is_told(progress: Any) -> None:
    assert pace(progress, NOW) == Pace()


def test_a_rate_is_measured_anew_if_the_counting_begins_anew(report: ProgressReport, told: Told, clock: Clock) -> None:
    for step, total, name in ((1, 9, "A"), (2, 9, "A"), (3, 9, "A"), (1, 4, "B"), (2, 4, "B")):
        report.tell(step, total, name)
        report.send()
    samples = [(event.progress or {}).get("samples", 0) for event in told.events]
    assert samples == [0, 2, 3, 0, 2]
    for step in range(3, 60):
        report.tell(min(step, 4), 4, "B")
        report.send()
    assert (told.events[-1].progress or {})["samples"] == SAMPLES


@pytest.mark.parametrize(
    ("current", "total", "rate", "words"),
    [
        (5, 10, 2.0, ("5 of 10", "2 a second")),
        (1234567, None, 0.05, ("1,234,567", "3 a minute")),
        (0.25, 1, 0.0001, ("0.25 of 1", "0.4 an hour")),
    ],
)
def test_counts_and_rates_in_words(current: float, total: float | None, rate: float, words: tuple[str, str]) -> None:
    view = ProgressView(current=current, total=total, state="", meta=None, at=NOW, pace=Pace(rate))
    assert (view.counted, view.rate_words) == words
