"""The Overview's stream: tasks that look the same and follow each other are one row."""

from __future__ import annotations

from uuid import UUID

from tasks_app.models import Task
from tasks_app.web.stream import FOLDED_FROM, READ, ROWS, folded
from zenith_worker.wire.states import Status


def tasks(*looks: tuple[str, Status, int], **more: object) -> list[Task]:
    """Tasks of a name and status, so many of each, in this order."""
    kinds = [(name, status) for name, status, count in looks for _ in range(count)]
    return [Task(id=UUID(int=number), name=name, status=status, **more) for number, (name, status) in enumerate(kinds)]


def test_a_run_of_the_same_name_and_outcome_is_one_row() -> None:
    rows = folded(tasks(("add", Status.SUCCESS, 50), ("add", Status.FAILURE, 5), ("mul", Status.SUCCESS, 1)))
    assert [(row.newest.name, row.newest.status, len(row.tasks)) for row in rows] == [
        ("add", "SUCCESS", 50), ("add", "FAILURE", 5), ("mul", "SUCCESS", 1),
    ]  # fmt: skip
    assert [row.is_folded for row in rows] == [True, True, False]
    assert (rows[0].newest.id.int, rows[0].oldest.id.int) == (0, 49)


def test_a_few_stay_apart_and_so_do_those_that_do_not_follow_each_other() -> None:
    few = folded(tasks(("add", Status.SUCCESS, FOLDED_FROM - 1)))
    assert [len(row.tasks) for row in few] == [1] * (FOLDED_FROM - 1)
    mixed = folded(tasks(*[(name, Status.SUCCESS, 1) for name in "abababab"]))
    assert len(mixed) == 8


def test_errors_of_another_kind_are_another_row() -> None:
    same = tasks(("add", Status.FAILURE, 4), error_type="KeyError") + tasks(("add", Status.FAILURE, 4), error_type="OSError")
    assert [row.newest.error_type for row in folded(same)] == ["KeyError", "OSError"]


def test_a_row_says_who_ran_it_and_how_long() -> None:
    several = tasks(("add", Status.SUCCESS, 4))
    for task, runtime, worker in zip(several, (0.2, None, 0.1, 3.0), ("b", "a", "b", ""), strict=True):
        task.runtime, task.worker = runtime, worker
    (row,) = folded(several)
    assert (row.runtimes, row.workers) == ((0.1, 3.0), ["a", "b"])
    assert folded(tasks(("add", Status.QUEUED, 4)))[0].runtimes is None
    assert folded([]) == []


def test_a_row_that_may_go_on_says_so() -> None:
    one_kind = tasks(("add", Status.SUCCESS, READ))
    assert [row.goes_on for row in folded(one_kind)] == [True]
    assert [row.goes_on for row in folded(one_kind[:-1])] == [False]
    mixed = folded(tasks(("add", Status.SUCCESS, READ - 4), ("mul", Status.SUCCESS, 4)))
    assert [row.goes_on for row in mixed] == [False, True]


def test_there_are_not_too_many_rows() -> None:
    assert len(folded(tasks(*[(f"t{number}", Status.SUCCESS, 1) for number in range(3 * ROWS)]))) == ROWS
