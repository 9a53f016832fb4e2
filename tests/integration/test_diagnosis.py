"""The diagnosis of an application, from what heartbeats, rows and the broker really tell; and everywhere it is shown."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from tasks_app.control import queues as control
from tasks_app.diagnosis.deadline import Deadline
from tasks_app.diagnosis.diagnose import diagnose
from tasks_app.diagnosis.facts import Facts, QueueFacts
from tasks_app.diagnosis.gather import diagnosis_of, gather
from tasks_app.diagnosis.waiting import explained
from tasks_app.diagnosis.worker_facts import TasksOfWorker, worker_facts
from tasks_app.models import Application
from tasks_app.recording.apply import apply
from tasks_app.watching import observed, observer_state
from tasks_app.watching.applications import Watch, watch
from tasks_app.watching.observed import Observed
from tasks_app.watching.observer_state import ObserverState
from tasks_app.watching.redis_health import RedisHealth
from tests.attached_worker import attach, record, report, task_of
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.events import Event
from zenith_worker.wire.heartbeat import About, Waiting
from zenith_worker.wire.states import Status
from zenith_worker.wire.worker_settings import Schedule, WorkerSettings, as_json, read

pytestmark = pytest.mark.django_db(transaction=True)

#: Settings with which nothing is wrong.
GOOD = WorkerSettings(
    broker="redis", visibility_timeout=43_200.0, priority_steps=(0, 3, 6, 9), acks_late=True, time_limit=600.0,
    prefetch_multiplier=1, result_expires=86_400.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    redis_client().flushdb()
    stream.ensure_group()


@pytest.fixture
def shop() -> Application:
    return attach("shop")


def beat(name: str = "celery@a", application: str = "shop", slots: int = 2, busy: int = 0, **about: Any) -> None:
    """A heartbeat of a worker that consumes `payments`."""
    known = {"prefetch": 2, "catalogue": "d", "settings": GOOD, **about}
    held = known.pop("held", ())
    heartbeat.write(
        name, slots=slots, busy=busy, queues=["payments"], held=held, application=application, about=About(**known)
    )  # fmt: skip


def rules(application: Application) -> list[str]:
    return [finding.rule for finding in diagnosis_of(application).findings]


def queued(id_: str, queue: str = "payments", name: str = "shop.charge") -> None:
    report("shop", id_, Status.QUEUED, name=name, queue=queue)
    record()


# --- What is gathered ---


def test_a_healthy_attached_application_has_no_finding(shop: Application) -> None:
    beat()
    queued("one")
    found = diagnosis_of(shop)
    assert found.findings == ()
    assert {"no-worker", "no-consumer", "unknown-task", "visibility-timeout"} - {rule.id for rule in found.passed} == {
        "visibility-timeout"
    }
    assert found.facts.missed == ()


def test_an_attached_application_is_diagnosed_by_what_it_tells(shop: Application) -> None:
    settings = WorkerSettings(
        broker="redis", visibility_timeout=60.0, time_limit=None, schedules=(Schedule("tidy", "shop.tidy", 1.0),)
    )
    beat(limited=[Waiting("shop.crawl", 2, "1/m")], not_yet=[Waiting("shop.remind", 30)], longest_eta=90.0, settings=settings)
    queued("bulky", "bulk")
    queued("gone", name="shop.gone")
    Application.objects.filter(pk=shop.pk).update(first_heard_at="2026-01-01T00:00Z")
    shop.refresh_from_db()
    assert rules(shop) == [
        "no-consumer", "rate-limit-fills-prefetch", "unknown-task", "visibility-timeout", "beat-dead", "eta-grows-prefetch",
        "no-time-limit",
    ]  # fmt: skip


def test_no_worker_and_a_silent_one(shop: Application) -> None:
    queued("one")
    assert rules(shop) == ["no-worker"]
    assert "1 waiting task will not start" in diagnosis_of(shop).findings[0].sentence


def test_what_a_lost_worker_ran(shop: Application) -> None:
    beat()
    report(
        "shop", "one", Status.STARTED, at=time.time() - 60, name="shop.charge", queue="payments", worker="celery@gone",
        early=True,
    )  # fmt: skip
    record()
    assert rules(shop) == ["lost-early-acknowledged"]


def test_a_pool_that_starts_nothing(shop: Application) -> None:
    beat(held=["one"])
    report("shop", "one", Status.RECEIVED, at=time.time() - 60, name="shop.charge", queue="payments", worker="celery@a")
    record()
    assert rules(shop) == ["pool-stalled"]
    beat(held=[])
    assert rules(shop) == [], "its outcome is on its way"


def test_a_task_that_a_worker_did_not_know(shop: Application) -> None:
    beat()
    report("shop", "one", Status.FAILURE, name="shop.gone", queue="payments", error_type="celery.exceptions.NotRegistered")
    record()
    assert rules(shop) == ["unknown-task"]


def test_runs_of_a_schedule_are_read_from_its_tasks(shop: Application) -> None:
    beat(settings=WorkerSettings(schedules=(Schedule("tidy", "shop.tidy", 60.0), Schedule("cron", "shop.cron", None))))
    for number in range(8):
        report("shop", f"run-{number}", Status.SUCCESS, at=time.time() - 30 * number, name="shop.tidy", queue="payments")
    record()
    cron, tidy = gather(shop).schedules or ()
    assert (cron.every, cron.runs) == (None, ())
    assert [round(run / 30) for run in tidy.runs] == list(range(8))
    assert "beat-doubled" in rules(shop)


def test_what_an_observer_does_not_know_is_no_fact(shop: Application) -> None:
    beat(held=["one"], slots=0)
    (told,) = heartbeat.read_all("shop")
    seen = replace(told, watched=True, unknown=("slots", "queues", "prefetch", "held"), settings=None)
    tasks = {told.name: TasksOfWorker((), 90.0)}
    (facts,) = worker_facts([seen], tasks)
    assert (facts.slots, facts.queues, facts.prefetch, facts.limited, facts.not_yet, facts.clock_ahead) == (None,) * 6
    assert (facts.busy, facts.messages, facts.stalled_seconds, facts.events) == (0, None, None, None)
    assert diagnose(Facts(application="shop", workers=(facts,), queues=(QueueFacts(name="bulk", depth=5),))).findings == ()
    (facts,) = worker_facts([replace(seen, unknown=(), tags=("one",))], tasks)
    assert (facts.not_yet, facts.limited, facts.messages, facts.stalled_seconds) == ((), None, 1, None)
    (facts,) = worker_facts([replace(seen, unknown=())], tasks, knows_limits=True)
    assert (facts.limited, facts.stalled_seconds) == ((), 90.0)


# --- Of a watched application ---


@pytest.fixture
def watched() -> Application:
    """A watched application whose observer listens."""
    row, _ = watch("heard", Watch(url="redis://user:correct-horse@broker.example:6390/3"))
    observer_state.write("heard", ObserverState(listens=True, since=time.time() - 100))
    return row


def heard(name: str = "heard@one", **body: Any) -> None:
    """What an observer knows of a worker, and what it knows besides."""
    known = {"pid": 1, "slots": 2, "busy": 0, "queues": ["mail"], "held": [], "prefetch": 2, "version": "5.6.0", "unknown": []}
    settings = as_json(replace(GOOD, sent_events=True))
    heartbeat.write_heard([heartbeat.Heard(name, {**known, "settings": settings, **body}, 0.0)], "heard")


def observe(**known: Any) -> None:
    healthy = RedisHealth("noeviction", 10, 100, persistent=True)
    told = Observed(at=time.time(), names=("shop.charge",), limits={}, sent_events=True, redis=healthy)
    observed.write("heard", replace(told, **known))


def step(id_: str, status: Status, application: str = "heard", **more: Any) -> None:
    report(application, id_, status, **{"name": "shop.charge", "queue": "mail", "worker": "heard@one", **more})
    record()


def test_a_healthy_watched_application_has_no_finding(watched: Application) -> None:
    heard(sends_events=True, clock_ahead=0.1)
    observe()
    found = diagnosis_of(watched)
    assert found.findings == ()
    assert {rule.id for rule in found.unknown} == {
        "queue-paused", "queue-unreadable", "channel-closed", "visibility-timeout", "beat-dead", "beat-doubled",
        "queue-grows", "long-backlog", "schedule-missed", "priorities-without-steps", "results-expire", "classic-queues",
        "unbounded-prefetch",
    }  # fmt: skip


def test_a_watched_application_is_diagnosed_by_what_its_observer_knows(watched: Application) -> None:
    heard(busy=1, held=["runs"], not_yet=[["shop.remind", 20]], sends_events=False, clock_ahead=-40.0)
    full = RedisHealth("allkeys-lru", 90, 100, persistent=False)
    observe(limits={"shop.crawl": "1/m"}, early=("shop.charge",), priorities=(0, 1), redis=full)
    for id_ in ("a", "b"):
        step(id_, Status.RECEIVED, name="shop.crawl", at=time.time() - 60)
    step("runs", Status.STARTED, at=time.time() - 60)
    step("lost", Status.STARTED, at=time.time() - 60, worker="heard@gone")
    step("renamed", Status.FAILURE, name="shop.renamed", error_type="NotRegistered", at=time.time())
    assert rules(watched) == [
        "unknown-task", "lost-early-acknowledged", "eviction", "clock-skew", "rate-limit-fills-prefetch", "eta-grows-prefetch",
        "priorities-without-steps", "broker-memory", "no-persistence", "events-off",
    ]  # fmt: skip


def test_what_waits_for_its_eta_in_a_watched_worker_is_not_stalled(watched: Application) -> None:
    heard(held=["later", "now"])
    observe()
    now = time.time()
    step("later", Status.RECEIVED, at=now - 300, not_before=now + 300)
    assert rules(watched) == []
    step("now", Status.RECEIVED, at=now - 300, not_before=now - 60)
    assert rules(watched) == ["pool-stalled"]
    assert "for 60 s" in diagnosis_of(watched).findings[0].sentence


def test_what_ran_before_a_gap_may_have_ended(watched: Application) -> None:
    heard()
    observe(early=("shop.charge",))
    step("lost", Status.STARTED, at=time.time() - 60, worker="heard@gone")
    watched.gaps = [[time.time() - 50, time.time() - 40, "no observer ran"], ["odd"], 7]
    assert rules(watched) == []
    watched.gaps = [[time.time() - 90, time.time() - 80, "no observer ran"]]
    assert rules(watched) == ["lost-early-acknowledged"]


def test_of_an_application_that_is_not_heard_only_that_is_said(watched: Application) -> None:
    observer_state.write("heard", ObserverState(listens=False, reason="it refuses the user or the password", since=time.time()))
    step("waits", Status.QUEUED, worker="")
    (finding,) = diagnosis_of(watched).findings
    assert (finding.rule, "heard: it refuses the user or the password" in finding.sentence) == ("not-heard", True)
    observer_state.forget("heard")
    assert "no observer runs" in diagnosis_of(watched).findings[0].sentence
    observer_state.write("heard", ObserverState(listens=True, since=time.time()))
    assert rules(watched) == [], "it has just begun to listen"
    observer_state.write("heard", ObserverState(listens=True, since=time.time() - 60))
    assert rules(watched) == ["no-worker"]


def test_what_the_broker_keeps_from_its_user_is_said(watched: Application, admin_client: Client) -> None:
    heard()
    observe(redis=RedisHealth(refused=("INFO", "CONFIG GET")))
    assert "the user may not run INFO and CONFIG GET" in diagnosis_of(watched).facts.missed[0]
    page = admin_client.get("/applications/heard/diagnosis/").content.decode()
    assert "Not read, so not judged" in page
    assert "correct-horse" not in page
    assert "broker.example" not in page


@pytest.mark.parametrize("raw", [b"\xff", b"[]", b'{"at": 1, "redis": 7}', b'{"names": 7}', b'{"redis": [1, 2]}', b"[" * 100_000])
def test_odd_facts_are_no_facts(watched: Application, raw: bytes) -> None:
    redis_client().set("zenith:observed:heard", raw)
    assert observed.read("heard") == Observed()


def test_the_page_tells_when_a_crontab_is_due(watched: Application, admin_client: Client) -> None:
    nightly = Schedule("nightly", "shop.night", None, "30 4 * * *")
    heard(settings=as_json(WorkerSettings(time_limit=5.0, schedules=(nightly, Schedule("sun", "shop.sun", None)))))
    observe()
    page = admin_client.get("/applications/heard/diagnosis/").content.decode()
    assert "30 4 * * *" in page
    worker = admin_client.get("/workers/heard@one/?application=heard").content.decode()
    assert "5.0 s, soft" in worker
    assert "tasks before they run" in worker
    _, sun = gather(watched).schedules or ()
    assert (sun.crontab, sun.next_seconds) == ("", None)
    schedule = (gather(watched).schedules or ())[0]
    assert 0 < (schedule.next_seconds or 0) <= 86_400


def test_the_doctor_knows_whether_watched_applications_are_heard(watched: Application) -> None:
    only = ("--only", "watched applications")
    assert doctor(*only)[0] == 0
    told = ObserverState(listens=True, reason="its workers cannot be asked: it does not answer in time", lost=5, delay=60.0)
    observer_state.write("heard", told)
    status, text = doctor(*only)
    assert status == 1
    for part in ("heard is heard, but its workers cannot be asked", "5 events of heard were dropped", "arrive 60 s late"):
        assert part in text
    observer_state.write("heard", ObserverState(listens=False, reason="it refuses the user or the password"))
    status, text = doctor(*only)
    assert (status, "heard is not heard: it refuses the user or the password" in text) == (1, True)
    assert doctor("--application", "heard")[0] == 1
    observer_state.forget("heard")
    status, text = doctor(*only)
    assert (status, "No observer listens to heard" in text, "correct-horse" in text) == (2, True, False)
    Application.objects.filter(pk=watched.pk).update(broker="")
    assert doctor(*only)[0] == 0


def test_a_retry_far_away_counts_as_an_eta(shop: Application) -> None:
    beat()
    report(
        "shop", "one", Status.RETRY, name="shop.charge", queue="payments", worker="celery@a", not_before=time.time() + 50_000,
        error_type="ValueError",
    )  # fmt: skip
    record()
    assert rules(shop) == ["visibility-timeout"]


def test_zeniths_own_application_is_asked_itself() -> None:
    own = Application.native()
    beat(application="", name="celery@own")
    redis_client().lpush("bulk", "{}")
    control.pause("mail", by="anna")
    common = {"at": time.time(), "name": "add", "args": [], "kwargs": {}}
    apply([Event(task_id="held", status=Status.PENDING, queue="mail", **common)])
    apply([Event(task_id="stuck", status=Status.QUEUED, queue="bulk", **common)])
    found = {finding.rule: finding for finding in diagnosis_of(own).findings}
    assert found["no-consumer"].name == "bulk"
    assert "paused by anna; 1 task" in found["queue-paused"].sentence


@pytest.fixture
def eviction() -> Iterator[None]:
    redis_client().config_set("maxmemory-policy", "allkeys-lru")
    yield
    redis_client().config_set("maxmemory-policy", "noeviction")


def test_zeniths_redis_must_not_evict(eviction: None) -> None:
    beat(application="", name="celery@own")
    assert "eviction" in rules(Application.native())


def test_what_takes_too_long_is_unknown_and_said(shop: Application) -> None:
    beat()
    facts = gather(shop, Deadline(-1.0))
    assert (facts.queues, facts.unknown_tasks, len(facts.workers or ())) == (None, None, 1)
    assert "queues" in facts.missed

    def slow() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    with Deadline(0.06) as deadline:
        assert deadline.read("slow", slow) is None
        assert deadline.read("more", slow) is None
    assert deadline.missed == ["slow", "more"]
    assert Application.objects.filter(pk=shop.pk).exists()


def test_settings_travel_in_a_heartbeat_and_odd_ones_are_left_out() -> None:
    told = WorkerSettings(broker="redis", priority_steps=(0, 5), time_limit=3.5, schedules=(Schedule("a", "b", None),),
                          sent_events=False, timezone="Europe/Berlin")  # fmt: skip
    cron = WorkerSettings(schedules=(Schedule("a", "b", None, "0 4 * * *"), Schedule("c", "d", 5.0)))
    none = WorkerSettings(max_priority=0, prefetch_multiplier=0, result_expires=0.0)
    assert [read(json.loads(json.dumps(as_json(one)))) for one in (told, none, cron)] == [told, none, cron]
    odd = {
        "broker": "a\x00b", "visibility_timeout": -1, "priority_steps": "0", "acks_late": 1, "time_limit": float("nan"),
        "schedules": [["a", "b"], ["tidy", "shop.tidy", 5], 7, [1, 2, 3]], "prefetch_multiplier": 4, "more": 1,
    }  # fmt: skip
    assert read(odd) == WorkerSettings(prefetch_multiplier=4, schedules=(Schedule("tidy", "shop.tidy", 5.0),))
    beat(name="celery@odd", settings=None)
    key = "zenith:app:shop:worker:celery@odd"
    body = json.loads(redis_client().get(key) or b"")  # type: ignore[arg-type]
    redis_client().set(key, json.dumps({**body, "settings": ["odd"]}), keepttl=True)
    assert heartbeat.read_all("shop") == [], "an unreadable heartbeat, as any other"


# --- Where it is shown ---


def test_a_waiting_tasks_sentence_has_the_finding_that_explains_it(shop: Application) -> None:
    beat(limited=[Waiting("shop.crawl", 2, "1/m")])
    queued("one")
    why = explained(task_of("shop", "one"), "Waiting in the queue payments of shop.")
    assert why.startswith("Waiting in the queue payments of shop. Worker celery@a has 2 free slots, but takes no more messages")
    queued("gone", name="shop.gone")
    beat()
    assert "no worker online knows this name" in explained(task_of("shop", "gone"), "Waiting.")
    assert explained(task_of("shop", "one"), "Waiting.") == "Waiting."


def test_the_page_shows_findings_with_proof_and_remedy(shop: Application, admin_client: Client) -> None:
    beat(settings=WorkerSettings(schedules=(Schedule("tidy", "shop.tidy", 60.0),), time_limit=5.0))
    queued("one", "bulk")
    page = admin_client.get("/applications/shop/diagnosis/").content.decode()
    for text in ("No worker consumes a queue", "1 task waits in queue bulk", "What to do", "control add_consumer bulk",
                 "What was checked", "What beat schedules", "not seen"):  # fmt: skip
        assert text in page
    other = admin_client.get("/applications/shop/diagnosis/?queue=payments").content.decode()
    assert "Nothing found that keeps its tasks waiting" in other
    assert "1 other finding" in other
    assert 'href="/applications/shop/diagnosis/"' in admin_client.get("/applications/shop/").content.decode()
    assert "/applications/shop/diagnosis/?queue=bulk" in admin_client.get("/queues/?application=shop").content.decode()
    assert 'href="/applications/zenith/diagnosis/"' in admin_client.get("/").content.decode()
    assert admin_client.get("/applications/none/diagnosis/").status_code == 404


def test_an_empty_diagnosis_says_what_was_checked(shop: Application, admin_client: Client) -> None:
    beat()
    fragment = admin_client.get("/applications/shop/diagnosis/", headers={"HX-Request": "true"}).content.decode()
    assert "Nothing found" in fragment
    assert "Nothing is wrong" not in fragment, "some checks could not be made"
    assert "At least one worker is online." in fragment
    assert "could not be checked" in fragment


def test_the_api_answers_the_same(shop: Application, api: Callable[..., Client]) -> None:
    beat()
    queued("one", "bulk")
    client = api()
    answer = client.get("/api/v1/applications/shop/diagnosis").json()
    assert answer.get("application") == "shop", answer
    (finding,) = answer["findings"]
    assert (finding["rule"], finding["severity"], finding["subject"], finding["name"]) == (
        "no-consumer",
        "error",
        "queue",
        "bulk",
    )
    assert {"rule": "no-worker", "checks": "At least one worker is online."} in answer["passed"]
    assert "eviction" in {check["rule"] for check in answer["unknown"]}
    assert client.get("/api/v1/applications/shop/diagnosis?queue=payments").json()["findings"] == []
    assert client.get("/api/v1/applications/none/diagnosis").status_code == 404
    assert client.get("/api/v1/applications/shop/diagnosis?odd=1").status_code == 422


def doctor(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("doctor", *words, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_doctor_prints_the_same(shop: Application) -> None:
    beat(settings=WorkerSettings())
    status, text = doctor("--application", "shop")
    assert (status, ".. Tasks have no time limit\n" in text, "ok At least one worker is online." in text) == (0, True, True)
    queued("one", "bulk")
    status, text = doctor("--application", "shop")
    assert status == 2
    assert text.startswith("XX No worker consumes a queue\n     1 task waits in queue bulk")
    assert "       → Start a worker for it: celery -A YOUR_APP worker -Q bulk." in text
    assert "-- Redis evicts nothing.: not known" in text
    answer = json.loads(doctor("--application", "shop", "--json")[1])
    assert answer["status"] == "error"
    with pytest.raises(CommandError, match="no application 'none'"):
        doctor("--application", "none")
