"""The search against real rows: what each term finds, that pages lead through all of it, and that a walk is bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from tasks_app.models import Batch, Task
from tasks_app.queries.tasks import TaskFilter
from tasks_app.search import index_scan, planner
from tests.integration.test_api_tasks import make
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db


def found(q: str, **more: Any) -> list[UUID]:
    """Everything that a search finds, over all its pages."""
    chosen: TaskFilter | None = TaskFilter(q=q, **more)
    ids: list[UUID] = []
    pages = 0
    while chosen is not None:
        page = chosen.page()
        ids += [item.task.id for item in page.tasks]
        chosen = page.following
        pages += 1
        assert pages < 500
    assert ids == sorted(set(ids), reverse=True), "each once, newest first"
    return ids


@pytest.fixture
def rows() -> dict[str, Task]:
    now = timezone.now()
    batch = Batch.objects.create(task_name="t", size=1, source="api", created_at=now)
    ended: dict[str, Any] = {"finished_at": now, "created_at": now}
    return {
        "queued": make(name="report.daily", queue="high", kwargs={"user": 7, "deep": {"id": "x"}}, created_at=now),
        "success": make(name="report.weekly", status=Status.SUCCESS, worker="w1@host", kwargs={"user": "7"}, **ended),
        "failure": make(
            name="mail", status=Status.FAILURE, worker="w10@host", error_type="TimeoutError", error_message="50%_of disk", **ended
        ),
        "retry": make(name="mail", queue="high", status=Status.RETRY, error_type="ValueError", worker="w1@host", created_at=now),
        "other": make(id=uuid4(), name="foreign", source="external", status=Status.SUCCESS, args=[7, "a"], **ended),
        "batch": make(name="drill_sleep", args=[1.5], batch=batch, status=Status.SUCCESS, **ended),
    }


FINDS = [
    ("", {"queued", "success", "failure", "retry", "other", "batch"}),
    ("status:success", {"success", "other", "batch"}),
    ("status:FAILURE status:RETRY", {"failure", "retry"}),
    ("-status:SUCCESS", {"queued", "failure", "retry"}),
    ("status:RETRY -status:RETRY", set()),
    ("name:report*", {"queued", "success"}),
    ("name:report", set()),
    ("name:report.daily name:mail", {"queued", "failure", "retry"}),
    ("-name:report* -name:mail", {"other", "batch"}),
    ("name:mail queue:high", {"retry"}),
    ("queue:high", {"queued", "retry"}),
    ("queue:high -name:mail", {"queued"}),
    ("worker:w1", {"success", "retry"}),
    ("worker:w1@host status:RETRY", {"retry"}),
    ("worker:w1*", {"success", "retry", "failure"}),
    ("-worker:w1 worker:*", {"failure"}),
    ("args.user:7", {"queued", "success"}),
    ("args.user:7 -queue:high", {"success"}),
    ("args.deep.id:x", {"queued"}),
    ("args.0:7", {"other"}),
    ("args.1:a", {"other"}),
    ("args.seconds:1.5", {"batch"}),
    ("-args.user:7 status:SUCCESS", {"other", "batch"}),
    ("args.user:8", set()),
    ("args.user:1e999999", set()),
    ('args.user:"[["', set()),
    ("error:timeout", {"failure"}),
    ('error:"TimeoutError: 50%_of"', {"failure"}),
    ("error:0_o", set()),
    ("error:disk worker:w10", {"failure"}),
    ("-error:disk status:FAILURE", set()),
    ("disk", {"failure"}),
    ("DISK timeout", {"failure"}),
    ("w1", {"success", "failure", "retry"}),
    ("w1 -timeout", {"success", "retry"}),
    ("w1 disk", {"failure"}),
    ("nonsense", set()),
    ("since:1h", {"queued", "success", "failure", "retry", "other", "batch"}),
    ("since:1h status:RETRY", {"retry"}),
    ("until:1h", set()),
    ("ended_since:1h", {"success", "failure", "other", "batch"}),
    ("ended_since:1h status:FAILURE", {"failure"}),
    ("ended_until:1h", set()),
    ("until:1h since:2h worker:w1", set()),
]


@pytest.mark.parametrize(("q", "expected"), FINDS)
@pytest.mark.parametrize("limit", [1, 100])
def test_a_search_finds(rows: dict[str, Task], q: str, expected: set[str], limit: int) -> None:
    assert {name for name, task in rows.items() if task.id in found(q, limit=limit)} == expected


def test_a_search_finds_by_ids(rows: dict[str, Task]) -> None:
    one, other = rows["queued"], rows["other"]
    assert found(f"id:{one.id} id:{other.id}") == sorted([one.id, other.id], reverse=True)
    assert found(f"id:{one.id} status:SUCCESS") == []
    assert found(str(other.id)) == [other.id]
    assert found(f"{other.id} disk") == []
    assert found(f"batch:{rows['batch'].batch_id}") == [rows["batch"].id]


def test_a_search_and_the_other_filters_hold_together(rows: dict[str, Task]) -> None:
    assert found("queue:high", task="mail") == [rows["retry"].id]
    assert found("status:FAILURE status:RETRY", status=Status.RETRY) == [rows["retry"].id]
    assert found("status:FAILURE", status=Status.RETRY) == []


def test_tasks_of_other_programs_are_found_by_time_whatever_their_ids_say() -> None:
    now = timezone.now()
    ids = [UUID(int=number << 120, version=4) for number in (0, 1, 128, 255)]
    new = [make(id=id_, source="external", created_at=now) for id_ in ids[::2]]
    old = [make(id=id_, source="external", created_at=now - timedelta(days=2)) for id_ in ids[1::2]]
    assert set(found("since:1d")) == {task.id for task in new}
    assert set(found("until:1d")) == {task.id for task in old}


@pytest.mark.parametrize(
    "q", ["disk", "error:disk", "args.user:7", "-queue:default", "worker:ghost", "w1", "args.user:7 status:FAILURE"]
)
def test_a_page_ends_where_it_looked_at_enough_and_the_next_goes_on(q: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_scan, "REACH", 4)
    monkeypatch.setattr(planner, "REACH", 4)
    monkeypatch.setattr(planner, "FIRST_REACH", 2)
    monkeypatch.setattr(planner, "MAX_SOME", 1)
    monkeypatch.setattr(index_scan, "MIN_REACH", 1)
    now = timezone.now()
    common: dict[str, Any] = {"status": Status.FAILURE, "finished_at": now, "error_type": "E", "worker": "w1@host"}
    rare = [
        make(**{**common, "error_message": "the disk", "kwargs": {"user": 7}, "queue": "rare", "worker": "ghost@w1"})
        for _ in range(2)
    ]
    others = [make(**common, error_message="else") for _ in range(30)]
    expected = {task.id for task in rare} | ({task.id for task in others} if q == "w1" else set())
    assert set(found(q)) == expected


def test_a_walk_that_stopped_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "REACH", 4)
    monkeypatch.setattr(index_scan, "MIN_REACH", 1)
    old = make(queue="rare")
    for _ in range(30):
        make()
    page = TaskFilter(q="-queue:default -name:x").page()
    # Name and queue have an index; so this is found at once however old it is.
    assert ([item.task for item in page.tasks], page.following) == ([old], None)
    short = TaskFilter(q="-worker:*").page()
    assert (short.tasks, short.searched_to is not None, short.following is not None) == ([], True, True)


# A word may be an id, in any application: their names are read every few seconds (models/task_keys.py).
@pytest.mark.parametrize("count", [3, 60])
@pytest.mark.parametrize(
    ("q", "queries"),
    [
        ("status:FAILURE", 3), ("name:report*", 2), ("worker:w1", 4), ("error:disk", 3), ("disk", 5), ("args.user:7", 3),
        ("since:1h", 3), ("name:r* worker:w1 args.user:7 args.a:1 args.b:2", 7),
    ],
)  # fmt: skip
def test_a_search_takes_so_many_queries_however_much_there_is(
    q: str, queries: int, count: int, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    for number in range(count):
        make(
            status=Status.FAILURE, finished_at=now, error_type="E", error_message="disk", worker=f"w1@host{number % 3}",
            kwargs={"user": 7}, created_at=now,
        )  # fmt: skip
    with django_assert_max_num_queries(queries):
        TaskFilter(q=q).page()


@pytest.mark.parametrize("most", [1, 3000])
def test_the_longest_way_to_a_task_is_nine_queries(
    most: int, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(planner, "FIRST_REACH", 2)
    monkeypatch.setattr(index_scan, "MIN_REACH", 1)
    monkeypatch.setattr(planner, "MAX_SOME", most)
    now = timezone.now()
    old = make(status=Status.SUCCESS, finished_at=now, worker="w1@a", kwargs={"user": 7, "a": 1, "b": 2})
    for _ in range(9):
        make(status=Status.SUCCESS, finished_at=now, worker="w1@a", kwargs={"user": 7, "a": 1})
    # What there is of names and workers, the shorter stream, a walk, the arguments, the ended, the open (2), the tasks; and, once
    # in a few seconds, other applications' catalogues.
    with django_assert_max_num_queries(9):
        page = TaskFilter(q="name:* worker:w1 args.user:7 args.a:1 args.b:2").page(bare=True)
    assert [item.task for item in page.tasks] == [old]
