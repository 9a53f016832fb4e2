"""Folding a task's steps: the same steps give the same row, in whatever order and however often they arrive."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.recording.reducer import EXTERNAL, TaskState, fold
from tests.histories import ARGS, KWARGS, NAME, QUEUE, START, arrivals, histories
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import TERMINAL, Status, position


def fresh(history: list[Event]) -> TaskState:
    """The task before its first reported step: its row is written by a dispatch, or known to nobody."""
    if history[0].name:
        return TaskState(id=history[0].task_id)
    return TaskState(
        id=history[0].task_id, name=NAME, queue=QUEUE, source="api", status=Status.QUEUED,
        position=position(0, 0, Status.QUEUED), created_at=START, queued_at=START,
    )  # fmt: skip


def folded(state: TaskState, events: list[Event]) -> TaskState:
    for event in events:
        fold(state, event)
    return state


def delivery_of(event: Event) -> tuple[int, int]:
    return event.attempt, event.delivery


def deciding_step(history: list[Event]) -> Event:
    """The step that the row must show, found by looking at all of them at once."""
    terminal = [event for event in history if event.status in TERMINAL]
    if terminal:
        return terminal[0]
    newest = max(map(delivery_of, history))
    return max((event for event in history if delivery_of(event) == newest), key=lambda event: event.status.rank)


@given(data=st.data(), history=histories())
def test_any_order_and_any_duplication_end_in_the_same_state(data: st.DataObject, history: list[Event]) -> None:
    in_order = folded(fresh(history), history)
    shuffled = folded(fresh(history), data.draw(arrivals(history)))
    assert asdict(shuffled) == asdict(in_order)


@given(data=st.data(), history=histories())
def test_the_row_shows_the_terminal_step_else_the_furthest_of_the_newest_delivery(
    data: st.DataObject, history: list[Event]
) -> None:
    state = folded(fresh(history), data.draw(arrivals(history)))
    step = deciding_step(history)
    if not history[0].name and step.position < position(0, 0, Status.QUEUED):
        return
    assert (state.status, state.position) == (step.status, step.position)
    assert (state.error_type, state.error_message) == (step.error_type, step.error_message)
    assert state.worker == step.worker
    assert (state.finished_at, state.runtime) == ((step.at, step.runtime) if step.status in TERMINAL else (None, None))


@given(data=st.data(), history=histories())
def test_a_task_never_moves_backwards_and_never_leaves_a_terminal_status(data: st.DataObject, history: list[Event]) -> None:
    state = fresh(history)
    seen = (state.is_terminal, state.position)
    for event in data.draw(arrivals(history)):
        ended = fold(state, event)
        assert ended == (state.is_terminal and not seen[0])
        now = (state.is_terminal, state.position)
        # What ended in an older delivery than the one that runs is the one case in which the position falls.
        assert now >= seen
        assert not seen[0] or now == seen
        seen = now


@given(data=st.data(), history=histories(), other=st.sampled_from(sorted(TERMINAL)), attempt=st.integers(0, 4))
def test_once_terminal_nothing_changes_how_a_task_ended(
    data: st.DataObject, history: list[Event], other: Status, attempt: int
) -> None:
    state = folded(fresh(history), history)
    if not state.is_terminal:
        return
    before = deepcopy(state)
    late = Event(
        task_id=state.id, status=other, at=START + 10**6, attempt=attempt, delivery=7, worker="late", runtime=9.0,
        started_at=START + 10**6, error_type="Late", error_message="too late", **origin_of(state),
    )  # fmt: skip
    later = Event(task_id=state.id, status=Status.STARTED, at=START + 10**6, attempt=attempt, delivery=8, worker="late")
    for event in data.draw(st.permutations([late, late, later])):
        assert not fold(state, event)
    assert state == before


def origin_of(state: TaskState) -> dict[str, str]:
    return {"name": NAME, "queue": QUEUE} if state.source == EXTERNAL else {}


@given(data=st.data(), history=histories(external=True))
def test_a_task_that_other_code_sent_is_known_from_any_of_its_steps(data: st.DataObject, history: list[Event]) -> None:
    arrived = data.draw(arrivals(history))
    first = folded(fresh(history), arrived[:1])
    assert (first.name, first.queue, first.args, first.kwargs) == (NAME, QUEUE, ARGS, KWARGS)
    state = folded(first, arrived[1:])
    assert state.parent_id == next((event.parent_id for event in history if event.parent_id), None)
    assert state.created_at == min(event.received_at or event.at for event in history)


@given(data=st.data(), history=histories(external=False))
def test_a_reported_step_changes_nothing_of_what_a_dispatch_wrote(data: st.DataObject, history: list[Event]) -> None:
    before = fresh(history)
    state = folded(fresh(history), data.draw(arrivals(history)))
    for name in ("id", "name", "queue", "source", "args", "kwargs", "priority", "created_at", "queued_at"):
        assert getattr(state, name) == getattr(before, name)


def step(status: Status, at: float, attempt: int = 0, delivery: int = 0, **more: object) -> Event:
    return Event(task_id="t", status=status, at=at, attempt=attempt, delivery=delivery, **more)  # type: ignore[arg-type]


SENT = TaskState(id="t", source="api", status=Status.QUEUED, position=position(0, 0, Status.QUEUED))


@pytest.mark.parametrize(
    ("steps", "status", "worker"),
    [
        ([step(Status.RECEIVED, 1, worker="a"), step(Status.STARTED, 2, worker="a")], Status.STARTED, "a"),
        ([step(Status.STARTED, 2, worker="a"), step(Status.RECEIVED, 1, worker="a")], Status.STARTED, "a"),
        # Its worker died and another one has it now.
        ([step(Status.STARTED, 2, worker="a"), step(Status.RECEIVED, 9, 0, 1, worker="b")], Status.RECEIVED, "b"),
        # The first worker was only slow: its outcome stands.
        (
            [
                step(Status.STARTED, 2, worker="a"),
                step(Status.STARTED, 9, 0, 1, worker="b"),
                step(Status.SUCCESS, 10, worker="a"),
                step(Status.SUCCESS, 11, 0, 1, worker="b"),
            ],
            Status.SUCCESS,
            "a",
        ),
        ([step(Status.RETRY, 3, worker="a"), step(Status.STARTED, 4, 1, worker="b")], Status.STARTED, "b"),
        ([step(Status.STARTED, 4, 1, worker="b"), step(Status.RETRY, 3, worker="a")], Status.STARTED, "b"),
    ],
)
def test_who_has_a_task_after_some_steps(steps: list[Event], status: Status, worker: str) -> None:
    state = folded(deepcopy(SENT), steps)
    assert (state.status, state.worker) == (status, worker)


def test_a_new_delivery_forgets_when_the_old_one_started() -> None:
    state = folded(
        deepcopy(SENT),
        [step(Status.STARTED, 2, received_at=1.0), step(Status.RECEIVED, 9, 0, 1, received_at=9.0)],
    )
    assert (state.received_at, state.started_at) == (9.0, None)


def test_a_retry_says_when_the_task_runs_again_also_when_it_is_heard_of_late() -> None:
    retry, running = step(Status.RETRY, 3, not_before=20.0), step(Status.STARTED, 21, 1)
    assert folded(deepcopy(SENT), [retry, running]).not_before == 20.0
    assert folded(deepcopy(SENT), [running, retry]).not_before == 20.0


def test_the_row_shows_what_was_asked_for_in_whatever_order_a_replacement_is_heard_of() -> None:
    asked, sent = {"name": "asked", "queue": "q"}, {"name": "sent", "queue": "p"}
    history = [
        step(Status.QUEUED, 1, **asked, args=[1], kwargs={"a": 1}, priority=3),
        step(Status.STARTED, 2, **asked, worker="a"),
        step(Status.REPLACED, 3, **asked, worker="a"),
        step(Status.STARTED, 4, nesting=1, **sent, args=[2], kwargs={"b": 2}, priority=5, worker="b"),
        step(Status.SUCCESS, 5, nesting=1, **sent, worker="b"),
    ]
    states = [folded(TaskState(id="t"), list(order)) for order in permutations(history)]
    shown = {(state.name, state.queue, str(state.args), str(state.kwargs), state.priority, state.status) for state in states}
    assert shown == {("asked", "q", "[1]", "{'a': 1}", 3, Status.SUCCESS)}
