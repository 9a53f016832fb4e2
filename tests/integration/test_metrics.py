"""`GET /metrics`: what Prometheus reads is true, only rises where it should, costs little, and survives what is away."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from infra_app.models import Host, Node, NodeGroup
from infra_app.states import NodeStatus
from tasks_app.analytics.lifetime import Lifetime
from tasks_app.dispatch.backlog import backlog
from tasks_app.maintenance import compaction, retention
from tasks_app.metrics import outcomes, state
from tasks_app.models import DeadLetter, MinuteRollup, PeriodRollup, QueuePause, Task
from tasks_app.recording import recorder
from tests.rollups import ended
from zenith_site.metrics import web
from zenith_site.metrics.sources import sources
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import RECORDER_STATS
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
DAY = 24 * 3600
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test asks anew, on an empty Redis."""
    stream.client().flushdb()
    monkeypatch.setattr(web._Memory, "answers", {})
    monkeypatch.setattr(outcomes, "lifetime", Lifetime())


def samples(client: Client | None = None) -> Samples:
    """Every sample of /metrics by its name and labels, asked anew."""
    web._Memory.answers.clear()
    answer = (client or Client()).get("/metrics")
    assert answer.status_code == 200
    found = {}
    for family in plain(answer.content.decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(name: str, **labels: str) -> float | None:
    return samples().get((name, tuple(sorted(labels.items()))))


def a_task(**values: Any) -> Task:
    fields = {"name": "t", "queue": "default", "status": Status.QUEUED, "source": "api", "created_at": timezone.now()}
    return Task.objects.create(**{**fields, **values})


# --- The format ---


def test_it_is_what_prometheus_reads_in_both_formats() -> None:
    ended(time.time(), succeeded=2, runs=(0.1, 0.2))
    answer = Client().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    # Its parser refuses what promtool refuses: counters without _total, buckets that fall, a family in two places.
    families = list(openmetrics(answer.content.decode()))
    assert all(family.documentation for family in families)
    assert Client().get("/metrics").headers["Content-Type"].startswith("text/plain")
    assert list(plain(Client().get("/metrics").content.decode()))


def test_head_is_enough_and_nothing_else_is_taken() -> None:
    assert Client().head("/metrics").status_code == 200
    assert Client().post("/metrics").status_code == 405


# --- Who may ask ---


def test_with_a_token_only_its_bearer_may_ask(settings: Any) -> None:
    settings.ZENITH_METRICS_TOKEN = "a-token-of-twenty-characters"
    refused = Client().get("/metrics")
    assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/problem+json")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert Client(headers={"Authorization": "Bearer another"}).get("/metrics").status_code == 401
    assert samples(Client(headers={"Authorization": "Bearer a-token-of-twenty-characters"}))


# --- What ended ---


def test_outcomes_retries_and_runtimes_are_told_by_task_and_queue() -> None:
    ended(time.time(), name="bill", queue="money", succeeded=2, failed=1, retried=4, runs=(0.003, 0.1, 5000), waits=(1.0,))
    found = samples()
    labels = (("queue", "money"), ("task", "bill"))
    assert found["zenith_tasks_finished_total", (("outcome", "succeeded"), *labels)] == 2
    assert found["zenith_tasks_finished_total", (("outcome", "failed"), *labels)] == 1
    assert found["zenith_task_retries_total", labels] == 4
    bucket = "zenith_task_runtime_seconds_bucket"
    assert [found[bucket, (("le", bound), *labels)] for bound in ("0.0032", "0.1024", "1677.72", "+Inf")] == [1, 2, 2, 3]
    assert found["zenith_task_runtime_seconds_count", labels] == 3
    assert found["zenith_task_runtime_seconds_sum", labels] == pytest.approx(5000.103)
    assert found["zenith_task_waiting_seconds_count", (("queue", "money"),)] == 1


def test_counters_do_not_fall_when_their_minutes_are_summed_up_and_pruned() -> None:
    """Sums of forty days: in minutes, then in quarters and days, then with the old minutes and quarters removed."""
    now = time.time()
    for days in range(40, 0, -1):
        ended(now - days * DAY, succeeded=1, runs=(0.1,))
    assert value("zenith_tasks_finished_total", task="t", queue="default", outcome="succeeded") == 40
    while compaction.compact():
        pass
    for remembered in (True, False):
        if not remembered:
            retention.prune_figures(max_age=timedelta(days=10))
            assert MinuteRollup.objects.count() <= 11
            outcomes.lifetime._settled = Lifetime()._settled
        assert value("zenith_tasks_finished_total", task="t", queue="default", outcome="succeeded") == 40
        assert value("zenith_task_runtime_seconds_count", task="t", queue="default") == 40


def test_what_ends_between_two_scrapes_is_counted_without_adding_up_everything_again() -> None:
    counters = Lifetime()
    ended(time.time() - 30 * DAY, succeeded=5)
    compaction.compact()
    assert counters.totals(10)["t", "default"].succeeded == 5
    ended(time.time(), succeeded=2)
    with CaptureQueriesContext(connection) as queries:
        assert counters.totals(10)["t", "default"].succeeded == 7
    assert len(queries) == 2
    assert "to_timestamp(0)" not in str(queries.captured_queries)


def test_a_late_report_is_counted_once_the_settled_part_is_added_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Lifetime()
    late = time.time() - 30 * DAY
    ended(late, succeeded=5)
    ended(time.time() - DAY, succeeded=1)
    while compaction.compact():
        pass
    assert counters.totals(10)["t", "default"].succeeded == 6
    PeriodRollup.objects.filter(succeeded=5).update(succeeded=9)
    assert counters.totals(10)["t", "default"].succeeded == 6
    monkeypatch.setattr("tasks_app.analytics.lifetime.SETTLED_FOR", 0.0)
    assert counters.totals(10)["t", "default"].succeeded == 10


def test_no_more_than_so_many_tasks_have_counters_and_the_rest_never_falls(settings: Any) -> None:
    """The oldest two keep theirs, whoever comes later and however much runs of it."""
    settings.ZENITH_METRICS_MAX_TASKS = 2
    now = time.time()
    ended(now - 3 * DAY, name="z-oldest", succeeded=1)
    ended(now - 2 * DAY, name="y-older", succeeded=1)
    assert value("zenith_tasks_finished_total", task="(other)", queue="(other)", outcome="succeeded") is None
    ended(now - DAY, name="x-newer", succeeded=10)
    rest = []
    for name in ("a-newest", "b-newest"):
        rest.append(value("zenith_tasks_finished_total", task="(other)", queue="(other)", outcome="succeeded"))
        ended(now, name=name, succeeded=100)
    rest.append(value("zenith_tasks_finished_total", task="(other)", queue="(other)", outcome="succeeded"))
    assert rest == [10, 110, 210]
    names = {dict(labels)["task"] for name, labels in samples() if name == "zenith_tasks_finished_total"}
    assert names == {"z-oldest", "y-older", "(other)"}


# --- How things stand ---


def test_open_tasks_and_dead_letters_are_counted() -> None:
    a_task(), a_task(), a_task(status=Status.STARTED)
    dead = a_task(status=Status.FAILURE, finished_at=timezone.now())
    DeadLetter.objects.create(
        task=dead, fingerprint="f", task_name="t", queue="default", error_type="E", created_at=timezone.now()
    )
    found = samples()
    assert found["zenith_tasks_open", (("status", "QUEUED"),)] == 2
    assert found["zenith_tasks_open", (("status", "STARTED"),)] == 1
    assert found["zenith_tasks_open", (("status", "RETRY"),)] == 0
    assert found["zenith_dead_letters_open", ()] == 1


def test_the_relays_backlog_is_what_is_due_and_not_sent() -> None:
    ago = timezone.now() - timedelta(seconds=90)
    a_task(status=Status.PENDING, created_at=ago)
    a_task(status=Status.PENDING, queue="paused", created_at=ago)
    a_task(status=Status.SCHEDULED, not_before=ago)
    a_task(status=Status.SCHEDULED, not_before=timezone.now() + timedelta(hours=1))
    a_task(status=Status.RETRY, held=True, not_before=ago)
    a_task(status=Status.RETRY, not_before=ago)
    QueuePause.objects.create(queue="paused", paused_at=timezone.now(), paused_by="test")
    found = backlog()
    assert found.count == 3
    assert 90 <= found.oldest_seconds < 120
    assert value("zenith_relay_backlog") == 3


def test_queues_tell_depth_age_and_consumers() -> None:
    task = a_task(queue="slow", queued_at=timezone.now() - timedelta(seconds=50))
    stream.client().lpush("slow", f'{{"headers": {{"id": "{task.id}"}}}}')
    heartbeat.write("w@metrics", slots=4, busy=1, queues=["fast", "slow"])
    found = samples()
    assert found["zenith_queue_depth", (("queue", "slow"),)] == 1
    assert 50 <= found["zenith_queue_oldest_age_seconds", (("queue", "slow"),)] < 80
    assert found["zenith_queue_oldest_age_seconds", (("queue", "fast"),)] == 0
    assert found["zenith_queue_consumers", (("queue", "fast"),)] == 1
    assert found["zenith_queue_consumers", (("queue", "default"),)] == 0
    assert found["zenith_queue_paused", (("queue", "slow"),)] == 0
    assert found["zenith_workers", (("state", "online"),)] == 1
    assert (found["zenith_worker_slots", ()], found["zenith_worker_slots_busy", ()]) == (4, 1)


def test_of_very_many_queues_the_longest_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_QUEUES", 2)
    heartbeat.write("w@metrics", slots=4, busy=1, queues=["a", "b", "c", "d"])
    for queue, count in (("d", 3), ("c", 2), ("b", 1)):
        stream.client().lpush(queue, *["{}"] * count)
    found = {dict(labels)["queue"]: depth for (name, labels), depth in samples().items() if name == "zenith_queue_depth"}
    assert found == {"d": 3, "c": 2, "(other)": 1}


def test_what_waits_to_be_recorded_is_told_and_then_how_it_was_recorded() -> None:
    ids = [str(a_task().id) for _ in range(3)]
    stream.ensure_group()
    for id_ in ids:
        stream.append([Event(task_id=id_, status=Status.STARTED, at=time.time())])
    waiting = samples()
    assert waiting["zenith_stream_entries", ()] == 3
    assert waiting["zenith_stream_lag_seconds", ()] > 0
    assert recorder.Recorder(threading.Event()).step() == 3
    found = samples()
    assert found["zenith_stream_entries", ()] == 0
    assert found["zenith_stream_lag_seconds", ()] == 0
    batch = "zenith_recorder_batch_entries"
    assert [found[f"{batch}_bucket", (("le", bound),)] for bound in ("2", "5", "+Inf")] == [0, 1, 1]
    assert (found[f"{batch}_sum", ()], found[f"{batch}_count", ()]) == (3, 1)
    assert found["zenith_recorder_delay_seconds_count", ()] == 1
    assert found["zenith_recorder_delay_seconds_sum", ()] < 60


def test_a_count_of_the_recorders_that_is_no_number_counts_as_nothing() -> None:
    stream.client().hset(RECORDER_STATS, mapping={"size:5": "Infinity", "size:10": 3, "size:sum": "9" * 400})
    found = samples()
    batch = "zenith_recorder_batch_entries"
    assert [found[f"{batch}_bucket", (("le", bound),)] for bound in ("5", "10")] == [0, 3]
    assert found[f"{batch}_sum", ()] == 0


def test_hosts_and_nodes_are_counted_by_how_they_are() -> None:
    host = Host.objects.create(name="well", address="unix://", seen_at=timezone.now())
    lost = Host.objects.create(name="lost", address="unix://", seen_at=timezone.now() - timedelta(hours=1))
    group = NodeGroup.objects.create(name="g", image="zenith:latest", queues=["default"])
    for name, where in (("a", host), ("b", lost)):
        Node.objects.create(group=group, name=name, host=where, status=NodeStatus.READY)
    found = samples()
    assert found["zenith_hosts", (("state", "unreachable"),)] == 1
    assert found["zenith_nodes", (("status", "READY"),)] == 1
    assert found["zenith_nodes", (("status", "UNKNOWN"),)] == 1


# --- HTTP ---


def test_requests_are_counted_by_the_name_of_their_route() -> None:
    def count(route: str, status: str) -> float:
        return samples().get(("zenith_http_requests_total", (("method", "GET"), ("route", route), ("status", status))), 0)

    before = count("login", "200"), count("(none)", "404")
    Client().get("/login/")
    for path in ("/nothing/1", "/nothing/2"):
        Client().get(path, headers={"Accept": "application/json"})
    assert (count("login", "200"), count("(none)", "404")) == (before[0] + 1, before[1] + 2)
    assert value("zenith_http_request_seconds_count", route="login")


# --- What is away, and what it costs ---


def test_a_source_that_is_away_takes_only_its_own_figures_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise redis.ConnectionError("no route")

    ended(time.time(), succeeded=1)
    monkeypatch.setitem(sources(), "workers", away)
    found = samples()
    assert found["zenith_metrics_source_up", (("source", "workers"),)] == 0
    assert found["zenith_metrics_source_up", (("source", "outcomes"),)] == 1
    assert ("zenith_worker_slots", ()) not in found
    assert found["zenith_tasks_finished_total", (("outcome", "succeeded"), ("queue", "default"), ("task", "t"))] == 1


def test_without_postgresql_redis_still_tells(database_away: None) -> None:
    found = samples()
    assert found["zenith_metrics_source_up", (("source", "tasks"),)] == 0
    assert found["zenith_stream_entries", ()] == 0


def test_a_scrape_takes_few_queries_however_many_tasks_there_are(django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        ended(time.time(), name=f"t{number}", succeeded=1)
        a_task(queue=f"q{number}")
    samples()
    with django_assert_max_num_queries(14):
        samples()


def test_asking_often_does_not_ask_the_servers_often(django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "KEPT", 60.0)
    samples()
    with django_assert_num_queries(0):
        for _ in range(20):
            assert Client().get("/metrics").status_code == 200
