"""Each rule of the diagnosis: facts that trigger it, facts at its border, and nothing on a healthy application."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tasks_app.diagnosis.crontabs import due_seconds
from tasks_app.diagnosis.diagnose import MOST_FINDINGS, diagnose
from tasks_app.diagnosis.facts import (
    BrokerFacts,
    Facts,
    HeldTasks,
    LostTasks,
    NamedTasks,
    QueueFacts,
    RunningTask,
    ScheduleFacts,
    SettingsFacts,
    WorkerFacts,
)
from tasks_app.diagnosis.findings import Finding, Severity, counted, listed
from tasks_app.diagnosis.rules import RULES
from tests.processes import REPOSITORY

SETTINGS = SettingsFacts(acks_late=True, time_limit=600.0, soft_time_limit=540.0, prefetch_multiplier=1, sent_events=True)
WORKER = WorkerFacts(
    name="celery@a", heard_seconds=1.0, pool="prefork", slots=4, busy=1, queues=frozenset({"mail"}), prefetch=4, messages=1,
    limited=(), not_yet=(), version="5.6.0", clock_ahead=0.1, running=(RunningTask("shop.send", 3.0),), settings=SETTINGS,
    events=True,
)  # fmt: skip
MAIL = QueueFacts(
    name="mail", depth=5, broker_consumers=1, growth=-60.0, served=120.0, max_priority=10, queue_type="quorum", oldest_seconds=2.0
)
BROKER = BrokerFacts(
    kind="redis", visibility_timeout=7200.0, priority_steps=(0, 3, 6, 9), eviction="noeviction", memory_used=10**6,
    memory_limit=10**9, persistent=True,
)  # fmt: skip
NIGHTLY = ScheduleFacts(
    name="tidy", task="shop.tidy", every=60.0, runs=tuple(20.0 + 60 * n for n in range(8)), observed_seconds=9000.0
)
HEALTHY = Facts(
    application="shop", workers=(WORKER, replace(WORKER, name="celery@b")), queues=(MAIL,), broker=BROKER,
    result_expires=86_400.0, priorities=(0, 5), unknown_tasks=(), lost=(), longest_eta=600.0, longest_runtime=30.0,
    longest_wait=20.0, schedules=(NIGHTLY,), unheard="",
)  # fmt: skip


def worker(**changes: Any) -> dict[str, Any]:
    """The only worker, changed."""
    return {"workers": (replace(WORKER, **changes),)}


def setting(**changes: Any) -> dict[str, Any]:
    return worker(settings=replace(SETTINGS, **changes))


def queue(**changes: Any) -> dict[str, Any]:
    return {"queues": (replace(MAIL, **changes),)}


def broker(**changes: Any) -> dict[str, Any]:
    return {"broker": replace(BROKER, **changes)}


def schedule(**changes: Any) -> dict[str, Any]:
    return {"schedules": (replace(NIGHTLY, **changes),)}


FULL = {"prefetch": 8, "messages": 8, "busy": 1, "slots": 4}
LIMITED = (HeldTasks("shop.crawl", 7, "2/m"),)
LONG = (RunningTask("shop.report", 900.0), RunningTask("shop.report", 310.0))
TWO_BEATS = tuple(60.0 * n + at for n in range(6) for at in (5.0, 12.0))
THREE_BEATS = tuple(60.0 * n + at for n in range(6) for at in (5.0, 12.0, 55.0))

#: A rule's id, the facts that trigger it, its severity, a part of its sentence, and the facts at its border, which do not.
CASES: list[tuple[str, dict[str, Any], str, str, dict[str, Any]]] = [
    (
        "not-heard", {"unheard": "no observer runs", "workers": None}, "warning", "does not hear shop: no observer runs",
        {"unheard": ""},
    ),
    (
        "no-worker", {"workers": (replace(WORKER, online=False),)}, "error", "so 5 waiting tasks will not start",
        worker(online=True),
    ),
    ("queue-unreadable", queue(unreadable=True, depth=None), "error", "is not a list", queue(unreadable=False)),
    (
        "queue-paused", queue(paused_by="anna", held=2), "warning", "paused by anna; 7 tasks waiting for it do not start",
        queue(paused_by="anna", depth=0),
    ),
    (
        "no-consumer", queue(name="bulk", broker_consumers=0), "error",
        "5 tasks wait in queue bulk, which none of 2 workers online", queue(name="bulk", depth=0),
    ),
    # Without the broker's count, the tasks whose senders told count.
    (
        "no-consumer", queue(name="bulk", depth=None, tasks=1, broker_consumers=None), "error", "1 task waits in queue bulk",
        queue(name="bulk", broker_consumers=1),
    ),
    (
        "channel-closed", queue(broker_consumers=0), "error", "the broker has no consumer of it, so 5 waiting tasks",
        queue(broker_consumers=1),
    ),
    (
        "pool-stalled", worker(busy=0, stalled_seconds=31.0), "error", "4 free slots, but starts nothing",
        worker(busy=0, stalled_seconds=30.0),
    ),
    ("pool-stalled", worker(slots=0, busy=0), "error", "its pool has no process", worker(slots=1, busy=0)),
    (
        "rate-limit-fills-prefetch", worker(**FULL, limited=LIMITED), "error",
        "3 free slots, but takes no more messages while it holds 8: 7 of shop.crawl wait there for their rate limit of 2/m",
        worker(**{**FULL, "messages": 7}, limited=LIMITED),
    ),
    (
        "rate-limit-fills-prefetch", {**worker(**FULL, limited=LIMITED), **queue(depth=0)}, "warning", "celery@a",
        worker(**{**FULL, "busy": 4}, limited=LIMITED),
    ),
    (
        "unknown-task", {"unknown_tasks": (NamedTasks("shop.gone", 3, "mail"),)}, "error",
        "3 tasks named shop.gone were sent, but no worker online knows this name", {"unknown_tasks": ()},
    ),
    (
        "lost-early-acknowledged", {"lost": (LostTasks("celery@gone", 2, True),)}, "error",
        "2 tasks were running on celery@gone, which is gone", {"lost": (LostTasks("celery@gone", 2, False),)},
    ),
    (
        "visibility-timeout", {"longest_eta": 7200.0}, "error", "a worker holds a task for 2 h until its ETA",
        {"longest_eta": 7199.0},
    ),
    (
        "visibility-timeout", {"longest_runtime": 9000.0}, "error", "tasks run for up to 2 h before they are acknowledged",
        {**setting(acks_late=False), "longest_runtime": 9000.0},
    ),
    (
        "beat-dead", schedule(runs=(151.0, 211.0)), "error",
        "The only periodic task of shop was not sent in time; the last one was",
        schedule(runs=(150.0, 210.0)),
    ),
    # Only workers tell of its tasks: one that waits unseen was sent in time.
    (
        "beat-dead", {**schedule(runs=(151.0,), as_sent=False), **queue(depth=0)}, "error", "was not sent in time",
        {**schedule(runs=(151.0,), as_sent=False), **queue(depth=None)},
    ),
    ("beat-dead", schedule(runs=()), "error", "none has ever been seen", schedule(runs=(), observed_seconds=100.0)),
    (
        "beat-doubled", schedule(runs=TWO_BEATS), "error", "shop.tidy was sent 2 times in each interval of 60 s",
        schedule(runs=TWO_BEATS[:7]),
    ),
    # Other code sends the task now and then as well.
    ("beat-doubled", schedule(runs=THREE_BEATS), "error", "3 times", schedule(runs=(*TWO_BEATS[:4], 175.0, *TWO_BEATS[5:]))),
    (
        "long-tasks-block", worker(slots=2, busy=2, running=LONG), "warning",
        "all 2 slots of its workers have been running shop.report for 5 min or more",
        worker(slots=2, busy=2, running=(LONG[0], RunningTask("shop.report", 299.0))),
    ),
    (
        "eta-grows-prefetch", worker(not_yet=(HeldTasks("shop.remind", 40),), prefetch=44), "warning",
        "holds 40 tasks that wait for their ETA, most of them shop.remind", worker(not_yet=(HeldTasks("shop.remind", 39),)),
    ),
    (
        "prefetch-full", worker(**FULL), "warning", "3 free slots, but takes no more messages while it holds 8 of at most 8",
        {**worker(**FULL), **queue(depth=0)},
    ),
    (
        "unbounded-prefetch", {**worker(prefetch=0), "longest_runtime": 61.0}, "warning", "run for up to 61 s",
        {**worker(prefetch=0), "longest_runtime": 60.0},
    ),
    (
        "queue-grows", queue(depth=500, growth=20.0), "warning",
        "500 waiting and grows by 20 a minute: its workers finish 120 a minute, 140 are sent. At this rate it never empties, and"
        " has 1,700 in an hour", queue(depth=120, growth=20.0),
    ),
    ("long-backlog", queue(depth=3601), "warning", "at this rate it is empty in 60 min", queue(depth=3600)),
    (
        "schedule-missed",
        {"schedules": (NIGHTLY, replace(NIGHTLY, name="bill", task="shop.bill", runs=(151.0,)))}, "warning",
        "bill (shop.bill) is due every 60 s, but ran last 3 min ago",
        {"schedules": (NIGHTLY, replace(NIGHTLY, name="bill", task="shop.bill", runs=(150.0,)))},
    ),
    (
        "schedule-missed",
        {"schedules": (NIGHTLY, replace(NIGHTLY, name="bill", task="shop.bill", runs=(151.0,)))}, "warning", "others are sent",
        {"schedules": (NIGHTLY, replace(NIGHTLY, name="bill", task="shop.bill", runs=(151.0,), as_sent=False))},
    ),
    (
        "priorities-without-steps", {"priorities": (0, 2)}, "warning", "priorities 0 and 2, but Redis keeps all of these in one",
        {"priorities": (2, 3)},
    ),
    (
        "priorities-without-steps", {**broker(kind="amqp", priority_steps=None), **queue(max_priority=0)}, "warning",
        "mail is declared without priorities", {**broker(kind="amqp", priority_steps=None), **queue(max_priority=1)},
    ),
    (
        "eviction", broker(eviction="allkeys-lru"), "error", "throws messages away without a word, whole queues at once",
        broker(eviction="noeviction"),
    ),
    ("eviction", broker(eviction="allkeys-lru", memory_limit=0), "warning", "once it gets a memory limit", broker(eviction=None)),
    ("eviction", broker(eviction="volatile-ttl"), "warning", "throws results away", broker()),
    ("broker-memory", broker(memory_used=800_000_001), "warning", "80 %", broker(memory_used=800_000_000)),
    ("no-persistence", broker(persistent=False), "warning", "all waiting tasks are lost", broker(persistent=None)),
    (
        "results-expire", {"result_expires": 50.0}, "warning", "deleted after 50 s, but tasks of shop take up to 50 s",
        {"result_expires": 51.0},
    ),
    ("results-expire", {"result_expires": 1.0}, "warning", "deleted after 1 s", {"result_expires": 0.0}),
    ("clock-skew", worker(clock_ahead=-2.1), "warning", "is 2 s behind the others", worker(clock_ahead=2.0)),
    ("clock-skew", worker(clock_ahead=31.0), "error", "31 s ahead of the others", worker(clock_ahead=-2.0)),
    (
        "mixed-versions", {"workers": (WORKER, replace(WORKER, name="celery@b", version="5.3.6"))}, "warning",
        "Celery 5.3.6 on celery@b; 5.6.0 on celery@a",
        {"workers": (WORKER, replace(WORKER, name="celery@b", version="5.3.6", online=False), WORKER)},
    ),
    ("events-off", worker(events=False), "warning", "celery@a sends no events of tasks", worker(events=None)),
    (
        "worker-silent", {"workers": (WORKER, replace(WORKER, name="celery@b", online=False, heard_seconds=40.0))}, "warning",
        "celery@b has sent no heartbeat for 40 s", {"workers": (WORKER,)},
    ),
    (
        "no-time-limit", setting(time_limit=None, soft_time_limit=None), "notice", "a task that hangs keeps its slot",
        setting(time_limit=None),
    ),
    ("sent-events-off", setting(sent_events=False), "notice", "how long they waited is unknown", setting(sent_events=None)),
    ("classic-queues", queue(queue_type="classic"), "notice", "mail is a classic queue", queue(queue_type=None)),
]  # fmt: skip


def found(rule: str, changes: dict[str, Any]) -> list[Finding]:
    return [finding for finding in diagnose(replace(HEALTHY, **changes)).findings if finding.rule == rule]


def ids() -> Iterator[str]:
    for number, case in enumerate(CASES):
        yield f"{case[0]}-{number}"


@pytest.mark.parametrize(("rule", "wrong", "severity", "part", "border"), CASES, ids=ids())
def test_a_rule_finds_what_is_wrong_and_nothing_at_its_border(
    rule: str, wrong: dict[str, Any], severity: str, part: str, border: dict[str, Any]
) -> None:
    first = found(rule, wrong)[0]
    assert (first.severity, part in first.sentence) == (severity, True), first.sentence
    assert first.title
    assert first.proof
    assert first.mend
    assert not found(rule, border)


def test_every_rule_has_a_case() -> None:
    assert {rule.id for rule in RULES} == {case[0] for case in CASES}
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_every_rule_is_documented() -> None:
    text = (REPOSITORY / "docs" / "diagnosis.md").read_text()
    assert [rule.id for rule in RULES if f"\n| `{rule.id}` | " not in text] == []


def test_a_healthy_application_has_no_finding_and_every_rule_could_be_judged() -> None:
    diagnosis = diagnose(HEALTHY)
    assert diagnosis.findings == ()
    assert diagnosis.worst is None
    assert {rule.id for rule in diagnosis.unknown} <= {"priorities-without-steps"}


def test_of_what_nobody_knows_no_rule_says_anything() -> None:
    diagnosis = diagnose(Facts(application="shop"))
    assert diagnosis.findings == ()
    assert diagnosis.passed == ()
    assert set(diagnosis.unknown) == set(RULES)
    assert len(RULES) > 30


def test_a_worker_of_which_little_is_known_is_judged_by_that_alone() -> None:
    facts = Facts(application="shop", workers=(WorkerFacts(name="celery@a"),), queues=(QueueFacts(name="mail", depth=5),))
    assert diagnose(facts).findings == ()


def test_the_worst_comes_first_and_then_the_most_direct_cause() -> None:
    changes = {
        **worker(version="5.6.0", clock_ahead=31.0, queues=frozenset({"other"}), settings=None),
        **queue(name="bulk", broker_consumers=None), "unknown_tasks": (NamedTasks("shop.gone", 1),), **broker(persistent=False),
    }  # fmt: skip
    findings = diagnose(replace(HEALTHY, **changes)).findings
    assert [finding.rule for finding in findings] == ["no-consumer", "unknown-task", "clock-skew", "no-persistence"]
    assert [finding.severity for finding in findings] == [*[Severity.ERROR] * 3, Severity.WARNING]


def test_a_dead_pool_is_not_called_a_full_prefetch_as_well() -> None:
    diagnosis = diagnose(replace(HEALTHY, **worker(**{**FULL, "busy": 0}, stalled_seconds=60.0)))
    assert [finding.rule for finding in diagnosis.findings] == ["pool-stalled"]


def test_a_queue_has_the_findings_that_explain_why_its_tasks_wait() -> None:
    changes = {**worker(**FULL, limited=LIMITED), **broker(persistent=False)}
    diagnosis = diagnose(replace(HEALTHY, **changes))
    assert [finding.rule for finding in diagnosis.of_queue("mail")] == ["rate-limit-fills-prefetch"]
    assert diagnosis.of_queue("other") == ()


def test_of_very_many_findings_the_worst_are_kept() -> None:
    silent = tuple(replace(WORKER, name=f"celery@{number}", online=False) for number in range(MOST_FINDINGS + 5))
    diagnosis = diagnose(replace(HEALTHY, workers=silent))
    assert (len(diagnosis.findings), diagnosis.left_out, diagnosis.findings[0].rule) == (MOST_FINDINGS, 6, "no-worker")


def test_numbers_and_names_in_sentences() -> None:
    assert (counted(1, "task"), counted(1200, "task")) == ("1 task", "1,200 tasks")
    assert [listed(list("abcde")[:number]) for number in range(5)] == ["", "a", "a and b", "a, b and c", "a, b, c and 1 more"]


@pytest.mark.parametrize(
    ("text", "zone", "now", "at"),
    [
        ("30 4 * * *", "UTC", "2026-03-01T04:30:00+00:00", "2026-03-02T04:30:00+00:00"),
        ("*/15 * * * *", "UTC", "2026-03-01T04:31:10+00:00", "2026-03-01T04:45:00+00:00"),
        ("0 9 * * mon-fri", "Europe/Berlin", "2026-03-06T12:00:00+00:00", "2026-03-09T08:00:00+00:00"),
        # The 13th of a month that is a Friday, as Celery reads it; a leap day; a list.
        ("0 0 13 * 5", "UTC", "2026-03-14T00:00:00+00:00", "2026-11-13T00:00:00+00:00"),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("0,30 0 1,15 * *", "UTC", "2026-03-01T00:10:00+00:00", "2026-03-01T00:30:00+00:00"),
    ],
)
def test_when_a_crontab_is_due(text: str, zone: str, now: str, at: str) -> None:
    start, due = datetime.fromisoformat(now), datetime.fromisoformat(at)
    assert due_seconds(text, zone, start) == (due - start).total_seconds()


@pytest.mark.parametrize(
    ("text", "zone"), [("", "UTC"), ("0 4", "UTC"), ("a b c d e", "UTC"), ("99 4 * * *", "UTC"), ("0 4 * * *", "Mars/Olympus"),
                       ("0 0 31 2 *", "UTC"), ("0 4 * * *", "../etc/passwd")]
)  # fmt: skip
def test_a_crontab_that_cannot_be_read_is_not_known(text: str, zone: str) -> None:
    assert due_seconds(text, zone) is None
