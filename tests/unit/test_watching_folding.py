"""Steps that are folded into later ones are recorded as if each had been told by itself, wherever a batch ends."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import pytest

from tasks_app.recording.apply import _event_rows
from tasks_app.recording.events import EventRow
from tasks_app.recording.reducer import TaskState, fold
from tasks_app.watching.folding import folded
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

NOW = 1_700_000_000.0
ORIGIN: dict[str, Any] = {"name": "shop.pay", "queue": "tills", "args": [1], "kwargs": {"a": 2}, "parent_id": "p"}


def step(status: Status, at: float, *, worker: str = "one", task_id: str = "a", **more: Any) -> Event:
    return Event(task_id=task_id, status=status, at=NOW + at, worker=worker, **more)


RUN = [
    step(Status.QUEUED, 0, worker="", **ORIGIN), step(Status.RECEIVED, 1, **ORIGIN), step(Status.STARTED, 2),
    step(Status.SUCCESS, 3, result='"1"', runtime=0.5),
]  # fmt: skip
FAILED = {"error_type": "ValueError", "error_message": "no", "traceback": "…"}
HISTORIES = {
    "success": RUN,
    "no start": [RUN[1], RUN[3]],
    "failure": [*RUN[1:3], step(Status.FAILURE, 3, started_at=NOW + 2, **FAILED)],
    "retry": [
        *RUN[:3], step(Status.RETRY, 3, started_at=NOW + 2, not_before=NOW + 9, **FAILED),
        step(Status.RECEIVED, 4, attempt=1, not_before=NOW + 9, **ORIGIN), step(Status.STARTED, 9, attempt=1),
        step(Status.RETRY, 10, attempt=1, **FAILED),
    ],
    "next attempt comes first": [*RUN[1:3], step(Status.RECEIVED, 2.5, attempt=1), step(Status.RETRY, 3, **FAILED)],
    "delivered again elsewhere": [
        *RUN[:3], *(step(event.status, event.at - NOW + 5, worker="two", delivery=1) for event in RUN[1:]),
    ],
    "two workers tell of one delivery": [RUN[1], step(Status.STARTED, 2, worker="two"), step(Status.SUCCESS, 3, worker="two")],
    "replaced": [
        *RUN[1:3], step(Status.REPLACED, 3), step(Status.RECEIVED, 3, nesting=1, name="shop.other"),
        step(Status.STARTED, 4, nesting=1), step(Status.SUCCESS, 5, nesting=1),
    ],
    "put back": [*RUN[1:3], step(Status.QUEUED, 3, delivery=1, message="goes back"), step(Status.RECEIVED, 4, delivery=1)],
    "told twice": [RUN[1], RUN[1], RUN[2], RUN[2], RUN[3], RUN[3]],
    "out of order": [RUN[3], RUN[2], RUN[1]],
}  # fmt: skip


def recorded(steps: Sequence[Event]) -> tuple[TaskState, dict[int, EventRow]]:
    """The row and the steps that a recorder writes; of two at one position the first counts."""
    state, rows = TaskState(id="a"), {}
    for event in steps:
        fold(state, event)
        for row in _event_rows(event):
            rows.setdefault(row.position, row)
    return state, rows


@pytest.mark.parametrize("name", HISTORIES)
def test_what_is_folded_is_recorded_as_if_it_were_not(name: str) -> None:
    history = HISTORIES[name]
    for end in range(len(history) + 1):
        batches = [[copy(event) for event in part] for part in (history[:end], history[end:])]
        assert recorded([event for batch in batches for event in folded(batch)]) == recorded(history)


def test_one_step_carries_a_whole_run_among_those_of_others() -> None:
    others = [copy(event) for event in RUN]
    for event in others:
        event.task_id = "b"
    mixed = [copy(event) for pair in zip([copy(event) for event in RUN], others, strict=True) for event in pair]
    assert [(event.task_id, event.status) for event in folded(mixed)] == [
        ("a", Status.QUEUED), ("b", Status.QUEUED), ("a", Status.SUCCESS), ("b", Status.SUCCESS),
    ]  # fmt: skip


def test_when_a_task_was_to_run_is_not_carried() -> None:
    """A retry would seem to be due then."""
    due = [step(Status.RECEIVED, 1, not_before=NOW + 5), step(Status.STARTED, 5), step(Status.RETRY, 6, **FAILED)]
    (received, retry) = folded([copy(event) for event in due])
    assert (received.not_before, retry.not_before, retry.started_at) == (NOW + 5, None, NOW + 5)
