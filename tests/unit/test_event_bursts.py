"""Events grouped by task and burst."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks_app.models import TaskEvent
from tasks_app.queries.event_bursts import GAP, bursts

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def event(number: int, task: int, seconds: float) -> TaskEvent:
    return TaskEvent(
        id=number, task_id=UUID(int=task), status="QUEUED", at=NOON + timedelta(seconds=seconds), worker=f"w{number}"
    )


def ids(events: list[TaskEvent]) -> list[list[int]]:
    return [[event.id for event in burst.events] for burst in bursts(events)]


def test_steps_of_one_task_are_one_row_also_among_those_of_others() -> None:
    assert ids([event(4, 1, 3), event(3, 2, 2), event(2, 1, 1), event(1, 2, 0)]) == [[4, 2], [3, 1]]


def test_a_pause_begins_a_new_row() -> None:
    later = GAP.total_seconds() + 1
    assert ids([event(3, 1, 2 * later), event(2, 1, later), event(1, 1, later - 5)]) == [[3], [2, 1]]


def test_a_row_keeps_its_key_while_newer_steps_join() -> None:
    first, second = event(1, 1, 0), event(2, 1, 1)
    (before,), (after,) = bursts([first]), bursts([second, first])
    assert before.key == after.key == 1
    assert (after.newest, after.earlier, after.worker) == (second, [first], "w2")


def test_without_events_there_are_no_rows() -> None:
    assert bursts([]) == []
