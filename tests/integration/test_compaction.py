"""Summing up minutes to five, to quarters, three hours and days: complete, in any order, and the same however often."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from tasks_app.analytics import rollups
from tasks_app.analytics.rollups import RollupFilter, cover
from tasks_app.analytics.window import TimeWindow
from tasks_app.maintenance import compaction
from tasks_app.maintenance.compaction import DAY, FIVE_MINUTES, MINUTE, QUARTER, SETTLED_AFTER, THREE_HOURS, Watermarks
from tasks_app.maintenance.retention import prune_figures
from tasks_app.models import LatePeriod, LoadSample, MinuteRollup, PeriodRollup
from tasks_app.recording.apply import apply
from tests.failures import queued
from tests.rollups import ended
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3600
#: Midnight some days ago.
MIDNIGHT = int(time.time() // DAY - 3) * DAY


def sum_up(now: float) -> None:
    while compaction.compact(now):
        pass


def rows() -> list[Any]:
    return list(PeriodRollup.objects.order_by("seconds", "scope", "name", "queue", "start").values_list(
        "seconds", "scope", "name", "queue", "start", "succeeded", "failed", "runtime_histogram", "waiting_histogram"
    ))  # fmt: skip


def test_a_quarter_has_a_row_for_each_task_for_each_queue_and_for_all() -> None:
    ended(MIDNIGHT, name="a", succeeded=1, runs=[0.5])
    ended(MIDNIGHT + 60, name="a", succeeded=2, runs=[0.5, 1.0])
    ended(MIDNIGHT + 60, name="b", queue="other", failed=4)
    sum_up(MIDNIGHT + QUARTER + SETTLED_AFTER)
    found = {(row[1], row[2], row[3]): (row[5], row[6], sum(row[7])) for row in rows() if row[0] == QUARTER}
    assert found == {
        (0, "a", "default"): (3, 0, 3), (0, "b", "other"): (0, 4, 0), (1, "", "default"): (3, 0, 3),
        (1, "", "other"): (0, 4, 0), (2, "", ""): (3, 4, 3),
    }  # fmt: skip


def test_a_task_without_a_name_is_no_total() -> None:
    ended(MIDNIGHT, name="", queue="", succeeded=1)
    sum_up(MIDNIGHT + QUARTER + SETTLED_AFTER)
    assert [row[1] for row in rows() if row[0] == QUARTER] == [0, 1, 2]


def test_five_minutes_tell_queues_apart_and_not_tasks() -> None:
    ended(MIDNIGHT, name="a", succeeded=1, runs=[0.5])
    ended(MIDNIGHT + 60, name="b", succeeded=2)
    ended(MIDNIGHT + FIVE_MINUTES, name="a", queue="other", failed=4)
    sum_up(MIDNIGHT + QUARTER + SETTLED_AFTER)
    found = {
        (row[1], row[3], row[4].timestamp() - MIDNIGHT): (row[5], row[6], sum(row[7])) for row in rows() if row[0] == FIVE_MINUTES
    }
    assert found == {
        (1, "default", 0): (3, 0, 1), (2, "", 0): (3, 0, 1), (1, "other", 300): (0, 4, 0), (2, "", 300): (0, 4, 0),
        (2, "", 600): (0, 0, 0),
    }  # fmt: skip


def test_a_quarter_waits_until_it_is_settled() -> None:
    ended(MIDNIGHT, succeeded=1)
    sum_up(MIDNIGHT + QUARTER + SETTLED_AFTER - 1)
    assert compaction.watermarks() == Watermarks(0, 0, 0, 0)
    sum_up(MIDNIGHT + QUARTER + SETTLED_AFTER)
    assert compaction.watermarks() == Watermarks(MIDNIGHT + QUARTER, MIDNIGHT + QUARTER, 0, 0)


def test_days_follow_and_quarters_in_which_nothing_ended_are_there() -> None:
    ended(MIDNIGHT + 5 * 3600, succeeded=1)
    ended(MIDNIGHT + DAY + 60, succeeded=2)
    sum_up(MIDNIGHT + 2 * DAY + SETTLED_AFTER)
    assert compaction.watermarks() == Watermarks(*[MIDNIGHT + 2 * DAY] * 4)
    days = PeriodRollup.objects.filter(seconds=DAY, scope=2).order_by("start")
    assert list(days.values_list("succeeded", flat=True)) == [1, 2]
    assert PeriodRollup.objects.filter(seconds=QUARTER, scope=2).count() == 4 * 43


def test_again_changes_nothing() -> None:
    ended(MIDNIGHT, succeeded=1, runs=[1.0], waits=[0.1])
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    before = rows()
    for start in (0, QUARTER):
        LatePeriod.objects.create(start=datetime.fromtimestamp(MIDNIGHT + start, tz=UTC), touched_at=datetime.now(UTC))
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    assert rows() == before
    assert not LatePeriod.objects.exists()


def test_what_is_reported_late_is_counted_in_its_quarter_and_its_day() -> None:
    ended(MIDNIGHT, succeeded=1)
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    task = queued()
    apply([Event(task_id=str(task.id), status=Status.SUCCESS, at=MIDNIGHT + 100, started_at=MIDNIGHT + 99, result="1")])
    assert LatePeriod.objects.count() == 1
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    totals = PeriodRollup.objects.filter(scope=2, start=datetime.fromtimestamp(MIDNIGHT, tz=UTC))
    assert list(totals.values_list("succeeded", flat=True)) == [2, 2, 2, 2]
    assert not LatePeriod.objects.exists()


@pytest.mark.parametrize("new", [FIVE_MINUTES, THREE_HOURS])
def test_what_is_late_in_periods_that_are_not_summed_up_yet_does_not_hide_those_before(new: int) -> None:
    """As after an upgrade that brings a new length."""
    for day in range(20):
        ended(MIDNIGHT - day * DAY, succeeded=1)
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    before = rows()
    PeriodRollup.objects.filter(seconds=new).delete()
    LatePeriod.objects.create(start=datetime.fromtimestamp(MIDNIGHT, tz=UTC), touched_at=datetime.now(UTC))
    assert compaction.compact(MIDNIGHT + DAY + SETTLED_AFTER) is True
    assert compaction.watermarks().of(new) < MIDNIGHT
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    assert rows() == before


def test_what_is_reported_in_time_is_not_marked() -> None:
    task, now = queued(), time.time()
    apply([Event(task_id=str(task.id), status=Status.SUCCESS, at=now, started_at=now, result="1")])
    assert not LatePeriod.objects.exists()


def test_of_two_engines_one_sums_up() -> None:
    from psycopg import connect

    ended(MIDNIGHT, succeeded=1)
    parameters = {
        name: value
        for name, value in connection.get_connection_params().items()
        if name in {"host", "port", "user", "password", "dbname"}
    }
    with connect(**parameters) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.COMPACTION])
        assert compaction.compact(MIDNIGHT + DAY) is False
        assert not rows()
    assert compaction.compact(MIDNIGHT + DAY) is True


@pytest.mark.parametrize("since", [0, 60, QUARTER, QUARTER + 60, DAY, DAY + 3600, 2 * DAY])
@pytest.mark.parametrize("length", [MINUTE, 2 * QUARTER + 60, DAY, 2 * DAY + 7 * 60])
def test_a_window_counts_the_same_summed_up_or_not(since: int, length: int) -> None:
    for number in range(0, 3 * DAY, 5 * 3600 + 7 * 60):
        ended(MIDNIGHT + number, succeeded=number + 1, runs=[0.125])  # adds up exactly
    span = TimeWindow(MIDNIGHT + since, MIDNIGHT + since + length, length)
    before = rollups.total(span, RollupFilter())
    sum_up(MIDNIGHT + 3 * DAY)
    assert compaction.watermarks().three_hours >= compaction.watermarks().days >= MIDNIGHT + DAY
    assert rollups.total(span, RollupFilter()) == before
    steps = TimeWindow(span.since // 3600 * 3600, span.until, 3600)
    assert sum(totals.finished for totals in rollups.by_step(steps, RollupFilter()).values()) >= before.finished
    for selection in (RollupFilter(), RollupFilter(queue="default"), RollupFilter(task="t")):
        counted = rollups.by_step(replace(span, step=FIVE_MINUTES), selection).values()
        assert sum(totals.finished for totals in counted) == before.finished


def test_the_pieces_make_up_the_window_and_are_as_long_as_possible() -> None:
    known = Watermarks(five_minutes=10 * DAY, quarters=10 * DAY, three_hours=10 * DAY - 3 * HOUR, days=9 * DAY)
    pieces = cover(DAY + 120, 10 * DAY + 300, DAY, known, tasks=False)
    assert pieces == [
        (MINUTE, DAY + 120, DAY + QUARTER), (QUARTER, DAY + QUARTER, DAY + 3 * HOUR), (THREE_HOURS, DAY + 3 * HOUR, 2 * DAY),
        (DAY, 2 * DAY, 9 * DAY), (THREE_HOURS, 9 * DAY, 10 * DAY - 3 * HOUR), (QUARTER, 10 * DAY - 3 * HOUR, 10 * DAY),
        (MINUTE, 10 * DAY, 10 * DAY + 300),
    ]  # fmt: skip
    assert cover(DAY, 4 * DAY, 6 * HOUR, known, tasks=True) == [(THREE_HOURS, DAY, 4 * DAY)]
    assert cover(DAY, 4 * DAY, HOUR, known, tasks=True) == [(QUARTER, DAY, 4 * DAY)]
    assert cover(DAY, 4 * DAY, DAY, replace(known, three_hours=0), tasks=True) == [(DAY, DAY, 4 * DAY)], "just upgraded"
    assert cover(DAY, 2 * DAY + 60, 300, known, tasks=False) == [(FIVE_MINUTES, DAY, 2 * DAY), (MINUTE, 2 * DAY, 2 * DAY + 60)]
    assert cover(DAY, 2 * DAY, 300, known, tasks=True) == [(MINUTE, DAY, 2 * DAY)]
    assert cover(DAY, 2 * DAY, 300, replace(known, five_minutes=0), tasks=False) == [(MINUTE, DAY, 2 * DAY)], "just upgraded"


def test_minutes_from_before_waiting_times_were_counted_count_as_none() -> None:
    ended(MIDNIGHT, succeeded=1, runs=[1.0])
    MinuteRollup.objects.update(waiting_histogram=[])
    sum_up(MIDNIGHT + QUARTER + SETTLED_AFTER)
    assert {sum(row[8]) for row in rows()} == {0}


def test_what_is_too_old_goes_but_its_days_stay() -> None:
    for number in range(3):
        ended(MIDNIGHT + number * DAY + 60, succeeded=1)
    now = datetime.fromtimestamp(MIDNIGHT + 3 * DAY + 7200 + QUARTER, tz=UTC)
    for minute in (MIDNIGHT, MIDNIGHT + 2 * DAY):
        at = datetime.fromtimestamp(minute, tz=UTC)
        LoadSample.objects.create(minute=at, sampled_at=at, looks=1, workers=0, slots=0, busy=0)
    assert prune_figures(max_age=timedelta(days=1), now=now) == 0, "nothing is summed up yet"
    sum_up(now.timestamp())
    span = TimeWindow(MIDNIGHT, MIDNIGHT + 3 * DAY, DAY)
    before = rollups.by_step(span, RollupFilter())
    assert prune_figures(max_age=timedelta(days=1), now=now) == 2 + 2 * (288 + 1 + 96 + 2 + 8 + 2) + 1
    assert [row.minute.timestamp() for row in MinuteRollup.objects.all()] == [MIDNIGHT + 2 * DAY + 60]
    assert LoadSample.objects.count() == 1
    assert rollups.by_step(span, RollupFilter()) == before
    assert prune_figures(max_age=timedelta(days=1), now=now) == 0
