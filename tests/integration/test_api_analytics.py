"""`/analytics/stats` and `/api/v1/analytics`: figures of windows, step by step, by task, queue and hour, and what is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.models import LoadSample
from tests.failures import queued
from tests.integration.conftest import ApiClient
from tests.rollups import ended
from zenith_worker.wire.states import Status

V1 = "/api/v1/analytics"
OUTCOMES = {
    "succeeded", "failed", "revoked", "retried", "success_rate", "runtime_mean", "runtime_p50", "runtime_p95", "runtime_p99",
    "waiting_mean", "waiting_p50", "waiting_p95",
}  # fmt: skip
USED = {"cpu_mean", "cpu_p50", "cpu_p95", "memory_p50", "memory_p95"}


@pytest.fixture
def reader(api: ApiClient) -> Client:
    return api("read")


def culprits(response: Any) -> list[str]:
    assert response.status_code == 422
    return [item["parameter"] for item in response.json()["errors"]]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# --- The original's path ----------------------------------------------------------------------------------------------


def test_the_stats_have_the_contracts_shape(reader: Client) -> None:
    now = time.time()
    ended(now, succeeded=8, failed=2, revoked=1, retried=5, runs=[1.0] * 10)
    ended(now - 7200, succeeded=5, runs=[1.0] * 5)
    queued()
    answer = reader.get("/analytics/stats?window=1h").json()
    assert list(answer) == [
        "total_tasks", "success_rate", "avg_processing_time", "throughput", "p50", "p95", "p99", "by_status", "window",
    ]  # fmt: skip
    assert (answer["total_tasks"], answer["success_rate"], answer["avg_processing_time"]) == (12, 80.0, 1.0)
    # The minute that is running counts as one: 61 of them at most.
    assert answer["throughput"] == pytest.approx(10 / 60, rel=0.03)
    assert answer["p50"] == pytest.approx(1.0, rel=0.42)
    assert answer["by_status"] == {
        "SCHEDULED": 0, "PENDING": 0, "QUEUED": 1, "RECEIVED": 0, "STARTED": 0, "RETRY": 0,
        "SUCCESS": 8, "FAILURE": 2, "REVOKED": 1, "IGNORED": 0, "REPLACED": 0,
    }  # fmt: skip
    assert set(answer["by_status"]) == {status.value for status in Status}
    assert answer["window"] == "1h"


def test_without_any_task_times_are_unknown_and_not_zero(reader: Client) -> None:
    answer = reader.get("/analytics/stats").json()
    assert answer == {
        "total_tasks": 0, "success_rate": None, "avg_processing_time": None, "throughput": 0.0, "p50": None,
        "p95": None, "p99": None, "by_status": {status.value: 0 for status in Status}, "window": "24h",
    }  # fmt: skip


@pytest.mark.parametrize(("window", "count"), [("15m", 1), ("1h", 2), ("6h", 3), ("24h", 4), ("7d", 5), ("all", 6)])
def test_each_window_reaches_as_far_as_it_says(reader: Client, window: str, count: int) -> None:
    now = time.time()
    for minutes in (0, 30, 120, 600, 4 * 1440, 20 * 1440):
        ended(now - 60 * minutes, succeeded=1)
    assert reader.get(f"/analytics/stats?window={window}").json()["total_tasks"] == count


def test_an_unknown_window_or_parameter_is_named(reader: Client) -> None:
    assert culprits(reader.get("/analytics/stats?window=2h")) == ["window"]
    assert culprits(reader.get("/analytics/stats?windows=1h")) == ["windows"]


@pytest.mark.parametrize(
    ("path", "most"),
    [("/analytics/stats", 3), ("/analytics/stats?window=all", 4), (f"{V1}/series", 2), (f"{V1}/tasks?window=7d", 2),
     (f"{V1}/queues", 2), (f"{V1}/heatmap?window=7d", 2), (f"{V1}/load", 3)],
)  # fmt: skip
def test_the_number_of_queries_is_small_and_never_touches_finished_tasks(reader: Client, path: str, most: int) -> None:
    for number in range(20):
        ended(time.time() - 60 * number, name=f"t{number}", succeeded=1)
    with CaptureQueriesContext(connection) as queries:
        assert reader.get(path).status_code == 200
    own = [query["sql"] for query in queries if "tasks_app_" in query["sql"]]
    assert len(own) <= most
    about_tasks = [query for query in own if "tasks_app_task" in query]
    assert all("SUCCESS" not in query and "status" in query for query in about_tasks)
    assert len(queries) <= most + 3, [query["sql"] for query in queries]


# --- Series -----------------------------------------------------------------------------------------------------------


def test_a_series_has_every_step_of_a_chosen_time(reader: Client) -> None:
    ended(at("2026-01-31T12:01"), succeeded=3, failed=1, retried=2, runs=[0.2] * 4, waits=[0.05] * 4)
    ended(at("2026-01-31T12:14"), succeeded=1)
    answer = reader.get(f"{V1}/series?since=2026-01-31T12:00:00Z&until=2026-01-31T13:00:00%2B01:00&bucket=5m").json()
    assert culprits(reader.get(f"{V1}/series?since=2026-01-31T12:00:00Z&until=2026-01-31T11:00:00Z")) == ["since"]
    answer = reader.get(f"{V1}/series?since=2026-01-31T12:00:00Z&until=2026-01-31T13:15:00%2B01:00&bucket=5m").json()
    assert (answer["since"], answer["until"], answer["step_seconds"]) == ("2026-01-31T12:00:00Z", "2026-01-31T12:15:00Z", 300)
    assert [point["at"] for point in answer["points"]] == [f"2026-01-31T12:{minute:02}:00Z" for minute in (0, 5, 10)]
    first, empty, last = answer["points"]
    assert set(first) == {"at"} | OUTCOMES
    assert (first["succeeded"], first["failed"], first["retried"], first["success_rate"]) == (3, 1, 2, 75.0)
    assert first["runtime_mean"] == pytest.approx(0.2)
    assert first["waiting_mean"] == pytest.approx(0.05)
    assert first["waiting_p95"] == pytest.approx(0.05, rel=0.42)
    assert (empty["succeeded"], empty["success_rate"], empty["runtime_p50"]) == (0, None, None)
    assert last["succeeded"] == 1


@pytest.mark.parametrize(
    ("query", "count"), [("", 6), ("&task=a", 3), ("&queue=two", 4), ("&task=a&queue=two", 2), ("&task=c", 0)]
)
def test_a_series_of_one_task_or_queue(reader: Client, query: str, count: int) -> None:
    now = time.time()
    ended(now, name="a", queue="one", succeeded=1)
    ended(now, name="a", queue="two", succeeded=2)
    ended(now, name="b", queue="two", succeeded=2)
    ended(now, name="b", queue="one", succeeded=1)
    points = reader.get(f"{V1}/series?window=15m{query}").json()["points"]
    assert sum(point["succeeded"] for point in points) == count


@pytest.mark.parametrize(("window", "step"), [("15m", 60), ("1h", 60), ("6h", 300), ("24h", 900), ("7d", 10800), ("30d", 21600)])
def test_the_step_suits_the_window(reader: Client, window: str, step: int) -> None:
    answer = reader.get(f"{V1}/series?window={window}").json()
    assert answer["step_seconds"] == step
    assert len(answer["points"]) <= 122


@pytest.mark.parametrize(
    ("query", "culprit"),
    [("window=24h&bucket=1m", "bucket"), ("bucket=2m", "bucket"), ("window=1h&since=2026-01-31T12:00:00Z", "window"),
     ("until=2026-01-31T12:00:00Z", "until"), ("since=2026-01-31T12:00:00", "since"), ("since=yesterday", "since"),
     ("since=0001-01-01T00:00:00Z", "since"), ("since=9999-12-31T23:59:59-12:00", "since"),
     ("task=%00", "task"), ("tasks=a", "tasks")],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_by_name(reader: Client, query: str, culprit: str) -> None:
    assert culprits(reader.get(f"{V1}/series?{query}")) == [culprit]


def test_everything_that_is_kept_fits_whatever_step_is_asked_for(reader: Client) -> None:
    ended(time.time() - 25 * 86400, succeeded=1)
    answer = reader.get(f"{V1}/series?window=all&bucket=1m").json()
    assert len(answer["points"]) <= 500
    assert sum(point["succeeded"] for point in answer["points"]) == 1


# --- Summaries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "order"),
    [("busiest", ["often", "broken", "slow"]), ("slowest", ["slow", "broken", "often"]), ("failing", ["broken", "slow", "often"]),
     ("waiting", ["often", "slow", "broken"])],
)  # fmt: skip
def test_a_summary_puts_first_what_is_asked_for(reader: Client, sort: str, order: list[str]) -> None:
    now = time.time()
    ended(now, name="often", succeeded=9, runs=[0.01] * 9, waits=[9.0] * 9)
    ended(now, name="broken", failed=3, runs=[0.1] * 3, waits=[0.1] * 3)
    ended(now, name="slow", succeeded=1, retried=1, runs=[60.0], waits=[1.0])
    answer = reader.get(f"{V1}/tasks?window=15m&sort={sort}").json()
    assert [row["name"] for row in answer["rows"]] == order
    assert set(answer["rows"][0]) == {"name"} | OUTCOMES | USED
    assert len(reader.get(f"{V1}/tasks?window=15m&limit=1").json()["rows"]) == 1


def test_queues_are_compared_too(reader: Client) -> None:
    now = time.time()
    ended(now, name="a", queue="one", succeeded=1)
    ended(now, name="b", queue="two", succeeded=2)
    ended(now, name="a", queue="two", succeeded=2)
    rows = reader.get(f"{V1}/queues?window=15m").json()["rows"]
    assert [(row["name"], row["succeeded"]) for row in rows] == [("two", 4), ("one", 1)]
    rows = reader.get(f"{V1}/queues?window=15m&task=a").json()["rows"]
    assert [(row["name"], row["succeeded"]) for row in rows] == [("two", 2), ("one", 1)]


# --- Heat map ---------------------------------------------------------------------------------------------------------

# A Saturday.
NIGHT = "since=2026-01-30T00:00:00Z&until=2026-02-02T00:00:00Z"


def test_a_heat_map_by_weekday_has_all_hours_of_all_days(reader: Client) -> None:
    ended(at("2026-01-31T23:30"), succeeded=2, failed=1)
    answer = reader.get(f"{V1}/heatmap?{NIGHT}").json()
    assert [row["weekday"] for row in answer["rows"]] == [1, 2, 3, 4, 5, 6, 7]
    assert all(len(row["finished"]) == len(row["failed"]) == 24 and row["day"] is None for row in answer["rows"])
    assert (answer["rows"][5]["finished"][23], answer["rows"][5]["failed"][23]) == (3, 1)
    assert sum(sum(row["finished"]) for row in answer["rows"]) == 3


def test_a_heat_map_goes_by_the_time_zone(reader: Client) -> None:
    ended(at("2026-01-31T23:30"), succeeded=2)
    (row,) = reader.get(f"{V1}/heatmap?{NIGHT}&by=date&timezone=Europe/Berlin").json()["rows"]
    assert (row["day"], row["weekday"], row["finished"][0]) == ("2026-02-01", 7, 2)
    assert culprits(reader.get(f"{V1}/heatmap?timezone=Mars/Olympus")) == ["timezone"]


# --- Load -------------------------------------------------------------------------------------------------------------


def test_efficiency_and_load_are_means_over_the_looks(reader: Client) -> None:
    now = time.time()
    minute = datetime.fromtimestamp(now // 60 * 60, tz=UTC)
    LoadSample.objects.create(minute=minute, sampled_at=minute, looks=4, workers=8, slots=16, busy=4)
    ended(now, succeeded=3, failed=1)
    points = reader.get(f"{V1}/load?window=15m").json()["points"]
    known = [point for point in points if point["slots"] is not None]
    assert [{name: value for name, value in point.items() if name != "at"} for point in known] == [
        {"success_rate": 75.0, "workers": 2.0, "slots": 4.0, "busy": 1.0, "load": 25.0}
    ]
    assert len(points) >= 15
    assert culprits(reader.get(f"{V1}/load?task=a")) == ["task"]
