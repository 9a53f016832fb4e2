"""Figures of several applications: counted apart, summed up apart, and read together or one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.utils import timezone

from tasks_app.analytics import figures, rollups
from tasks_app.analytics.figures import Order
from tasks_app.analytics.lifetime import Lifetime
from tasks_app.analytics.rollups import RollupFilter
from tasks_app.analytics.window import Preset, TimeWindow
from tasks_app.maintenance import compaction
from tasks_app.maintenance.compaction import DAY, QUARTER, SETTLED_AFTER
from tasks_app.maintenance.retention import prune_figures
from tasks_app.models import LatePeriod, LoadSample, MinuteRollup, PeriodRollup
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries.estimate import work_before
from tasks_app.queries.queue_rates import RATE_MINUTES, rates_of
from tasks_app.recording import rollups as counting
from tasks_app.recording.apply import apply
from tests.integration.conftest import ApiClient
from tests.integration.test_applications import attach
from tests.rollups import ended
from zenith_site.common.faults import is_unreachable
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

#: Midnight some days ago.
MIDNIGHT = int(time.time() // DAY - 3) * DAY
V1 = "/api/v1/analytics"


@pytest.fixture(autouse=True)
def emptied_redis() -> Iterator[None]:
    redis_client().flushdb()
    yield
    redis_client().flushdb()


@pytest.fixture
def shop() -> int:
    return attach("shop").pk


@pytest.fixture
def reader(api: ApiClient) -> Client:
    return api("read")


def report(application: str, *statuses: Status, at: float | None = None, name: str = "t", id_: str = "") -> None:
    """Report tasks of an application that ended, or attempts that failed, each in a second of running."""
    at = time.time() if at is None else at
    events = [
        Event(
            task_id=f"{id_ or at}-{number}", application=application, status=status, at=at, name=name, queue="default",
            started_at=at - 1, runtime=1.0, result="1",
        )
        for number, status in enumerate(statuses)
    ]  # fmt: skip
    apply(events, {NATIVE: NATIVE_ID, **({application: attach(application).pk} if application else {})})


def sum_up(now: float) -> None:
    while compaction.compact(now):
        pass


def finished(span: TimeWindow, application: str = "", **only: str) -> int:
    return rollups.total(span, RollupFilter(application=application, **only)).finished


def test_outcomes_are_counted_apart_and_read_together_or_one_by_one(shop: int) -> None:
    report(NATIVE, Status.SUCCESS)
    report("shop", Status.SUCCESS, Status.FAILURE, Status.RETRY)
    assert sorted(MinuteRollup.objects.values_list("application", "succeeded", "failed", "retried")) == [
        (NATIVE_ID, 1, 0, 0), (shop, 1, 1, 1),
    ]  # fmt: skip
    found = {name: figures.stats(Preset.H1, name) for name in ("", "zenith", "shop", "unknown")}
    assert {name: stats.totals.finished for name, stats in found.items()} == {"": 3, "zenith": 1, "shop": 2, "unknown": 0}
    # Open tasks, too: the one that is retried.
    assert {name: stats.by_status["RETRY"] for name, stats in found.items()} == {"": 1, "zenith": 0, "shop": 1, "unknown": 0}


def test_an_end_that_is_reported_again_is_counted_once(shop: int) -> None:
    for _ in range(2):
        report("shop", Status.SUCCESS, id_="a")
    assert MinuteRollup.objects.get().succeeded == 1


@pytest.mark.parametrize("at", [0.0, 250_000_000_000.0])
def test_a_time_that_cannot_be_is_not_counted_and_does_not_reach_into_every_figure(shop: int, at: float) -> None:
    report("shop", Status.SUCCESS, Status.RETRY, at=at)
    report("shop", Status.SUCCESS, id_="b")
    assert MinuteRollup.objects.get().succeeded == 1
    assert not LatePeriod.objects.exists()


def test_names_without_end_count_as_one(shop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_PAIRS", 2)
    monkeypatch.setattr(counting, "_pairs", {})
    for number in range(5):
        report("shop", Status.SUCCESS, name=f"t{number}", id_=f"id{number}")
        report(NATIVE, Status.SUCCESS, name=f"t{number}", id_=f"own{number}")
    names = MinuteRollup.objects.filter(application=shop).values_list("name", flat=True).distinct()
    assert sorted(names) == ["(other)", "t0", "t1"]
    assert sorted(MinuteRollup.objects.filter(application=NATIVE_ID).values_list("name", flat=True).distinct()) == [
        f"t{number}" for number in range(5)
    ]  # fmt: skip
    now = int(time.time())
    assert finished(TimeWindow(now - 3600, now + 60, DAY), "shop") == 5


def test_longer_periods_tell_applications_apart(shop: int) -> None:
    for application, count in ((NATIVE_ID, 1), (shop, 10)):
        ended(MIDNIGHT, application_id=application, succeeded=count, runs=[0.5] * count)
        ended(MIDNIGHT + 3600, application_id=application, name="u", queue="other", failed=count)
    span = TimeWindow(MIDNIGHT, MIDNIGHT + DAY, QUARTER)
    selections = [
        RollupFilter(task, queue, name) for task in ("", "u") for queue in ("", "other") for name in ("", "zenith", "shop")
    ]

    def read() -> list[Any]:
        return [
            (figures.series(span, only), rollups.total(span, only), figures.summaries(span, only, order=Order.BUSIEST, limit=9))
            for only in selections
        ]

    before = read()
    sum_up(MIDNIGHT + 2 * DAY + SETTLED_AFTER)
    days = PeriodRollup.objects.filter(seconds=DAY, start=datetime.fromtimestamp(MIDNIGHT, tz=UTC))
    assert sorted(days.filter(scope=PeriodRollup.Scope.ALL).values_list("application", "succeeded", "failed")) == [
        (NATIVE_ID, 1, 1), (shop, 10, 10),
    ]  # fmt: skip
    assert days.count() == 2 * (2 + 2 + 1)
    assert read() == before
    # The parts make up the whole.
    for whole, native, attached in zip(before[0::3], before[1::3], before[2::3], strict=True):
        assert whole[1] == native[1] + attached[1]
    assert [finished(span, name) for name in ("", "zenith", "shop", "unknown")] == [22, 2, 20, 0]
    assert finished(span, "shop", task="u", queue="other") == 10


def test_every_period_has_a_row_and_goes_on_after_one_without_tasks_of_zeniths_own(shop: int) -> None:
    ended(MIDNIGHT, application_id=shop, succeeded=1)
    ended(MIDNIGHT + 2 * QUARTER, application_id=shop, succeeded=1)
    sum_up(MIDNIGHT + 3 * QUARTER + SETTLED_AFTER)
    quarters = PeriodRollup.objects.filter(seconds=QUARTER, scope=PeriodRollup.Scope.ALL).order_by("start")
    assert list(quarters.values_list("application", "succeeded")) == [(shop, 1), (NATIVE_ID, 0), (shop, 1)]
    assert compaction.watermarks().quarters == MIDNIGHT + 3 * QUARTER


def test_a_late_count_of_one_application_leaves_those_of_others(shop: int) -> None:
    ended(MIDNIGHT, succeeded=3)
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    report("shop", Status.SUCCESS, at=MIDNIGHT + 30.0)
    assert LatePeriod.objects.get().start == datetime.fromtimestamp(MIDNIGHT, tz=UTC)
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    day = TimeWindow(MIDNIGHT, MIDNIGHT + DAY, DAY)
    assert [finished(day, name) for name in ("", "zenith", "shop")] == [4, 3, 1]
    MinuteRollup.objects.all().delete()
    assert [finished(day, name) for name in ("", "zenith", "shop")] == [4, 3, 1]


def test_old_figures_of_each_are_removed_and_their_days_stay(shop: int) -> None:
    for application in (NATIVE_ID, shop):
        ended(MIDNIGHT, application_id=application, succeeded=1)
    sum_up(MIDNIGHT + DAY + SETTLED_AFTER)
    now = datetime.fromtimestamp(MIDNIGHT + DAY, tz=UTC)
    prune_figures(max_age=timedelta(0), now=now)
    assert not MinuteRollup.objects.exists()
    days = PeriodRollup.objects.filter(scope=PeriodRollup.Scope.ALL)
    assert sorted(days.values_list("seconds", "application", "succeeded")) == [(DAY, NATIVE_ID, 1), (DAY, shop, 1)]


def test_what_is_about_zeniths_own_queues_and_metrics_leaves_others_out(shop: int) -> None:
    minute = int(time.time() // 60) * 60
    ended(minute - 120, succeeded=2, runs=[1.0, 1.0])
    ended(minute - 120, application_id=shop, succeeded=50, runs=[60.0] * 50)
    assert work_before({"t": 1}, [], timezone.now()).seconds == {"t": 1.0}
    assert rates_of(["default"])["default"].served == 2 / RATE_MINUTES
    assert Lifetime().totals(10)["t", "default"].succeeded == 2
    assert Lifetime().totals(0)["(other)", "(other)"].succeeded == 2


# --- The API and the page ---


def test_every_path_of_the_api_takes_an_application(shop: int, reader: Client) -> None:
    ended(time.time(), succeeded=1, runs=[1.0])
    ended(time.time(), application_id=shop, succeeded=2, failed=2, name="pay", runs=[1.0] * 4)
    LoadSample.objects.create(minute=timezone.now().replace(second=0, microsecond=0), sampled_at=timezone.now(), looks=1, workers=1, slots=4, busy=1)  # fmt: skip  # noqa: E501

    def read(path: str, application: str) -> Any:
        answer = reader.get(path, {"window": "1h", **({"application": application} if application else {})})
        assert answer.status_code == 200
        return answer.json()

    for application, number, names in (("", 5, {"t", "pay"}), ("zenith", 1, {"t"}), ("shop", 4, {"pay"}), ("unknown", 0, set())):
        assert read("/analytics/stats", application)["total_tasks"] == number
        points = read(f"{V1}/series", application)["points"]
        assert sum(point["succeeded"] + point["failed"] for point in points) == number
        assert {row["name"] for row in read(f"{V1}/tasks", application)["rows"]} == names
        queues = read(f"{V1}/queues", application)["rows"]
        assert sum(row["succeeded"] + row["failed"] for row in queues) == number
        assert sum(sum(row["finished"]) for row in read(f"{V1}/heatmap", application)["rows"]) == number
    assert {point["success_rate"] for point in read(f"{V1}/load", "shop")["points"]} == {None, 50.0}
    # Slots are those of Zenith's own workers.
    assert {point["slots"] for point in read(f"{V1}/load", "shop")["points"]} == {None}
    assert {point["slots"] for point in read(f"{V1}/load", "zenith")["points"]} == {None, 4.0}


def test_the_page_offers_a_choice_once_there_are_several(person: Client) -> None:
    ended(time.time(), succeeded=1)
    assert 'name="application"' not in person.get("/analytics/").text
    shop = attach("shop").pk
    ended(time.time(), application_id=shop, name="shop.pay", succeeded=7)
    both, one = person.get("/analytics/").text, person.get("/analytics/?application=shop").text
    assert 'name="application"' in both
    assert "shop.pay" in both
    assert '<option value="shop" selected>' in one
    assert "application%3Ashop" in one or "application:shop" in one
    assert 'id="by-task-2"' in both
    assert 'id="by-task-2"' not in one
    assert "Clear the filter" in one
    assert "shop.pay" in person.get("/analytics/?application=shop&format=csv&list=task").getvalue().decode()
    assert person.get("/analytics/?application=%00%27nothing").status_code == 200


def test_the_overview_counts_all(person: Client) -> None:
    shop = attach("shop").pk
    ended(time.time(), succeeded=1)
    ended(time.time(), application_id=shop, succeeded=41)
    assert "42" in person.get("/").text


# --- An installation from before ---


def test_a_recorder_that_started_before_the_migration_waits_for_it_and_sets_nothing_aside() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_app_minuterollup DROP CONSTRAINT rollup_key")
        with pytest.raises(ProgrammingError) as refused, transaction.atomic():
            report(NATIVE, Status.SUCCESS)
        transaction.set_rollback(True)
    assert is_unreachable(refused.value)
    assert not MinuteRollup.objects.exists()
    report(NATIVE, Status.SUCCESS)
    assert MinuteRollup.objects.get().succeeded == 1


def test_rows_from_before_are_of_zeniths_own() -> None:
    minute = datetime.fromtimestamp(MIDNIGHT, tz=UTC)
    executor = MigrationExecutor(connection)
    try:
        old: Any = executor.migrate([("tasks_app", "0022_command_indexes")]).apps
        values = {"name": "t", "queue": "default", "succeeded": 3, "runtime_histogram": [0], "waiting_histogram": [0]}
        old.get_model("tasks_app", "MinuteRollup").objects.create(minute=minute, **values)
        old.get_model("tasks_app", "PeriodRollup").objects.create(start=minute, seconds=QUARTER, scope=0, **values)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
    assert [row.application_id for row in (MinuteRollup.objects.get(), PeriodRollup.objects.get())] == [NATIVE_ID, NATIVE_ID]
    shop = attach("shop").pk
    ended(MIDNIGHT, application_id=shop, succeeded=4)
    assert MinuteRollup.objects.count() == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize(
    "selection",
    [
        RollupFilter(application="shop"),
        RollupFilter(task="t1", application="shop"),
        RollupFilter(queue="q", application="zenith"),
    ],
)
def test_a_window_of_one_application_is_read_along_an_index(shop: int, selection: RollupFilter) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_TEN_DAYS, {"seconds": QUARTER, "since": MIDNIGHT - 9 * DAY, "until": MIDNIGHT + DAY, "shop": shop})
        cursor.execute("ANALYZE tasks_app_periodrollup")
        part = rollups._part(QUARTER, MIDNIGHT, MIDNIGHT + DAY, selection, selection.scope(()), "")
        cursor.execute(f"EXPLAIN {part}", rollups._parameters(selection))
        plan = " ".join(row[0] for row in cursor.fetchall())
    assert "period_start" in plan or "period_key" in plan
    assert "Seq Scan on tasks_app_periodrollup" not in plan


#: Every quarter of ten days: a row for each of ten tasks, for their queue, and for all, of two applications.
_TEN_DAYS = """
    INSERT INTO tasks_app_periodrollup (seconds, scope, start, application_id, name, queue, succeeded, failed, revoked, retried,
        runtime_seconds, runtime_histogram, waiting_histogram)
    SELECT %(seconds)s, scope, to_timestamp(start), application, CASE scope WHEN 0 THEN 't' || number ELSE '' END,
        CASE scope WHEN 2 THEN '' ELSE 'q' END, 1, 0, 0, 0, 1.0, '{}', '{}'
    FROM generate_series(%(since)s, %(until)s, %(seconds)s) AS start, unnest(ARRAY[1, %(shop)s]) AS application,
        (SELECT 0 AS scope, number FROM generate_series(0, 9) AS number UNION ALL VALUES (1, 0), (2, 0)) AS kind
"""
