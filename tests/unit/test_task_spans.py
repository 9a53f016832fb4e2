"""The course of a task: its steps from events and runs, what the time between them was spent on, and how that is drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_app.models import Task, TaskEvent
from tasks_app.queries.attempts import AttemptView
from tasks_app.queries.task_spans import TaskSpans, task_spans
from tasks_app.web.state_diagram import RARE, layouts, path_in_words, state_diagrams
from tasks_app.web.timeline_drawing import MOST_ROWS, WORDS, Timeline, timeline_drawing
from zenith_worker.wire.states import OPEN, Status, note_position, position

START = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
Told = tuple[Status, float] | tuple[Status, float, int] | tuple[Status, float, int, int]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def events(*told: Told) -> list[TaskEvent]:
    """Events from (status, seconds, attempt from 0, delivery)."""
    rows = [(*one, 0, 0)[:4] for one in told]
    return [
        TaskEvent(status=status, at=at(seconds), position=position(int(attempt), int(delivery), status))
        for status, seconds, attempt, delivery in rows
    ]


def took(*told: Told, now: float = 100, runs: Any = (), **values: Any) -> TaskSpans:
    known = events(*told)
    last = max((event.position for event in known), default=0)
    return task_spans(Task(position=last, **values), known, runs, at(now))


def spent(found: TaskSpans) -> list[tuple[Status, float]]:
    return [(span.status, span.seconds) for span in found.spans]


def drawn(found: TaskSpans, due: datetime | None = None) -> Timeline:
    timeline = timeline_drawing(found, due)
    assert timeline is not None
    return timeline


PLAIN: list[Told] = [
    (Status.PENDING, 0), (Status.QUEUED, 1), (Status.RECEIVED, 3), (Status.STARTED, 4), (Status.SUCCESS, 9),
]  # fmt: skip
RETRIED: list[Told] = [
    (Status.QUEUED, 0), (Status.STARTED, 1), (Status.RETRY, 5), (Status.QUEUED, 15, 1), (Status.STARTED, 16, 1),
    (Status.FAILURE, 20, 1),
]  # fmt: skip


def test_time_is_told_apart_by_what_it_was_spent_on() -> None:
    assert spent(took(*PLAIN)) == [(Status.PENDING, 1), (Status.QUEUED, 2), (Status.RECEIVED, 1), (Status.STARTED, 5)]


def test_what_a_task_is_in_lasts_until_now() -> None:
    assert spent(took((Status.QUEUED, 0), (Status.STARTED, 10), now=30)) == [(Status.QUEUED, 10), (Status.STARTED, 20)]


def test_clocks_that_disagree_shorten_a_stretch_to_nothing() -> None:
    assert spent(took((Status.QUEUED, 10), (Status.STARTED, 8), (Status.SUCCESS, 12))) == [
        (Status.QUEUED, 0), (Status.STARTED, 2),
    ]  # fmt: skip


def test_a_run_tells_what_no_event_does() -> None:
    run = AttemptView(
        attempt=1, delivery=0, status=Status.FAILURE, worker="w", received_at=at(2), started_at=at(3), finished_at=at(5)
    )
    found = took((Status.QUEUED, 0), runs=[run])
    assert [step.status for step in found.steps] == [Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.FAILURE]


def test_notes_move_nothing() -> None:
    note = TaskEvent(status=Status.SCHEDULED, at=at(1), position=note_position(0))
    found = task_spans(Task(position=0), [*events((Status.SCHEDULED, 0)), note], [], at(5))
    assert [step.status for step in found.steps] == [Status.SCHEDULED]


def test_a_back_off_at_a_worker_lasts_until_it_is_due() -> None:
    found = took(
        (Status.STARTED, 0), (Status.RETRY, 5), (Status.RECEIVED, 5.1, 1), (Status.STARTED, 9, 1), not_before=at(8), now=10
    )
    assert spent(found) == [(Status.STARTED, 5), (Status.RETRY, 3), (Status.RECEIVED, 1), (Status.STARTED, 1)]


def test_of_an_older_attempt_the_back_off_lasts_until_it_started() -> None:
    found = took((Status.RETRY, 0), (Status.RECEIVED, 0.1, 1), (Status.STARTED, 4, 1), (Status.RETRY, 6, 1), now=6)
    assert spent(found)[:2] == [(Status.RETRY, 4), (Status.RECEIVED, 0)]


# --- The timeline ---


def test_attempts_and_back_offs_have_rows_of_their_own() -> None:
    timeline = drawn(took(*RETRIED))
    assert [(row.label, row.seconds) for row in timeline.rows] == [("Attempt 1", 5), ("Back-off", 10), ("Attempt 2", 5)]
    assert timeline.legend[-1] == ("FAILURE", "error")


def test_bars_are_to_scale() -> None:
    rows = drawn(took(*RETRIED)).rows
    assert [(bar.status, bar.x, bar.width) for bar in rows[1].bars] == [(Status.RETRY, 25, 50)]
    assert (rows[2].bars[1].x, rows[2].bars[1].width) == (80, 20)


def test_no_bar_leaves_the_drawing_and_none_vanishes() -> None:
    timeline = drawn(took((Status.QUEUED, 0), (Status.STARTED, 100_000), (Status.SUCCESS, 100_000.001)))
    for bar in timeline.rows[0].bars:
        assert bar.width > 0.3
        assert bar.x + bar.width <= 100


def test_a_second_delivery_is_named() -> None:
    found = took((Status.STARTED, 0), (Status.QUEUED, 5, 0, 1), (Status.STARTED, 6, 0, 1), now=9)
    assert [row.label for row in drawn(found).rows] == ["Attempt 1", "Attempt 1, delivery 2"]


def test_what_was_held_back_stands_beside_the_drawing_and_not_in_its_scale() -> None:
    timeline = drawn(took((Status.SCHEDULED, 0), (Status.PENDING, 3600), (Status.QUEUED, 3601), (Status.STARTED, 3602), now=3610))
    assert (timeline.held, timeline.seconds) == (3600, 10)
    assert timeline.table[0][:2] == ("Held", "held until due")


def test_a_task_that_is_held_is_drawn_towards_its_time() -> None:
    timeline = drawn(took((Status.SCHEDULED, 0), now=25), at(100))
    assert (timeline.seconds, timeline.rows[0].bars[0].width) == (100, 25)


def test_the_oldest_of_very_many_rows_are_left_out() -> None:
    told: list[Told] = []
    for attempt in range(100):
        told += [(Status.STARTED, 10 * attempt, attempt), (Status.RETRY, 10 * attempt + 5, attempt)]
    timeline = drawn(took(*told, now=1000))
    assert (len(timeline.rows), timeline.left_out) == (MOST_ROWS, 200 - MOST_ROWS)


@pytest.mark.parametrize("seconds", [0.0004, 0.03, 0.9, 4.6, 61, 4000, 90_000, 10_000_000])
def test_the_scale_has_a_few_round_marks(seconds: float) -> None:
    ticks = drawn(took((Status.STARTED, 0), now=seconds)).ticks
    assert 1 <= len(ticks) <= 9
    assert all(0 <= tick.x <= 97 for tick in ticks)


def test_of_nothing_there_is_no_drawing() -> None:
    assert timeline_drawing(took(), None) is None


# --- The diagram ---


@pytest.mark.parametrize("told", [PLAIN, RETRIED])
def test_the_statuses_that_were_passed_are_lit_and_where_it_is_stands_out(told: list[Told]) -> None:
    passed = {one[0] for one in told}
    for diagram in state_diagrams(took(*told)):
        assert {node.status for node in diagram.nodes if node.lit} == passed
        assert [node.status for node in diagram.nodes if node.current] == [told[-1][0]]
        assert len(diagram.nodes) == len(Status) - len(RARE)


def test_only_the_ways_that_were_gone_are_lit() -> None:
    wide, narrow = state_diagrams(took(*PLAIN))
    assert sum(edge.lit for edge in wide.edges) == sum(edge.lit for edge in narrow.edges) == 4


@pytest.mark.parametrize(
    "told",
    [
        [(Status.SCHEDULED, 0), (Status.REVOKED, 5)],
        [(Status.QUEUED, 0), (Status.REVOKED, 5)],
        [(Status.QUEUED, 0), (Status.FAILURE, 5)],
        [(Status.STARTED, 0), (Status.QUEUED, 5, 0, 1)],
        [(Status.RECEIVED, 0), (Status.QUEUED, 5, 0, 1)],
        [(Status.QUEUED, 0), (Status.STARTED, 5)],
        [(Status.RETRY, 0), (Status.REVOKED, 5, 1)],
    ],
)
def test_an_unusual_way_is_drawn_where_a_task_went_it(told: list[Told]) -> None:
    usual = len(state_diagrams(took(*PLAIN))[0].edges)
    for diagram in state_diagrams(took(*told)):
        assert len(diagram.edges) == usual + 1
        assert diagram.edges[-1].lit


def test_a_back_off_at_a_worker_goes_by_way_of_the_queue() -> None:
    wide, _ = state_diagrams(took((Status.STARTED, 0), (Status.RETRY, 1), (Status.RECEIVED, 2, 1), (Status.STARTED, 3, 1)))
    assert sum(edge.lit for edge in wide.edges) == 4


@pytest.mark.parametrize("layout", layouts(set(Status)))
def test_no_status_lies_outside_of_its_drawing(layout: Any) -> None:
    assert set(layout.places) == set(Status)
    assert len(set(layout.places.values())) == len(Status)
    for status in Status:
        x, y = layout.corner(status)
        assert 0 <= x <= layout.size[0] - layout.node[0]
        assert 0 <= y <= layout.size[1] - layout.node[1]


def test_the_path_is_also_said_in_words() -> None:
    assert path_in_words(took(*PLAIN)) == "Pending, Queued, Received, Started, Success"
    assert path_in_words(took()) == "nothing is known yet"


def run_again_at(due: float) -> AttemptView:
    """The first run of RETRIED, after which the next one was due then."""
    return AttemptView(
        attempt=1,
        delivery=0,
        status=Status.RETRY,
        worker="w",
        received_at=None,
        started_at=at(1),
        finished_at=at(5),
        due_at=at(due),
    )


def test_a_back_off_ends_where_the_next_attempt_was_due_and_waiting_in_the_queue_is_painted_as_that() -> None:
    told: list[Told] = [
        (Status.STARTED, 1), (Status.RETRY, 5), (Status.RECEIVED, 36, 1), (Status.STARTED, 37, 1), (Status.FAILURE, 40, 1),
    ]  # fmt: skip
    assert spent(took(*told, runs=[run_again_at(5.5)])) == [
        (Status.STARTED, 4), (Status.RETRY, 0.5), (Status.QUEUED, 30.5), (Status.RECEIVED, 1), (Status.STARTED, 3),
    ]  # fmt: skip
    # The newest attempt's due time stands on the row.
    assert spent(took(*told, not_before=at(5.5)))[1:3] == [(Status.RETRY, 0.5), (Status.QUEUED, 30.5)]
    # It was received early and held at its worker until it was due: that is back-off, to the end.
    held: list[Told] = [(Status.STARTED, 1), (Status.RETRY, 5), (Status.RECEIVED, 6, 1), (Status.STARTED, 20, 1)]
    assert spent(took(*held, runs=[run_again_at(19)], now=30))[1] == (Status.RETRY, 14)


def test_time_in_every_status_that_lasts_is_drawn() -> None:
    assert set(WORDS) == OPEN
    told: list[Told] = [(Status.QUEUED, 0), (Status.STARTED, 1), (Status.REPLACED, 2)]
    bars = [bar for row in drawn(took(*told)).rows for bar in row.bars]
    assert (Status.REPLACED, WORDS[Status.REPLACED]) in [(bar.status, bar.title) for bar in bars]
