"""Data that looks like an installation at work, for pictures and for checks of every page.

It goes through the recorder's own `apply`, so that attempts, events, results, dead letters and rollups belong together. No
engine and no worker runs behind it: nothing moves while a page is looked at.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import DeadLetter, LoadSample, MinuteRollup, QueueSample, Task, TaskMessage, WorkerMinute, Workflow
from tasks_app.recording.apply import apply
from tasks_app.recording.rollups import BUCKETS
from tests.browser.logs_sample import fill_logs
from tests.browser.nodes_sample import fill_nodes
from tests.database import Emptying
from zenith_site.models import AuditEntry
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.kinds import Channel, NotificationKind, Subject
from zenith_site.notify.models import (
    Delivery,
    DeliveryState,
    Notification,
    NotificationChannel,
    NotificationRule,
    Step,
)
from zenith_site.notify.rules import rules
from zenith_site.notify.watch import report
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status

#: Name, queue, arguments by name, usual seconds.
KINDS: list[tuple[str, str, dict[str, Any], float]] = [
    ("analyze_text", "default", {"data": "The quick brown fox jumps over the lazy dog."}, 0.084),
    ("reports.render_pdf", "reports", {"customer": 4711, "month": "2026-10", "format": "a4"}, 16.2),
    ("mail.send_digest", "mail", {"user": 7, "edition": "weekly"}, 0.212),
    ("thumbs.resize", "default", {"image": "uploads/2026/10/harbour.jpg", "width": 640}, 1.2),
]
ERRORS = [
    ("OSError", "cannot identify image file '/srv/uploads/harbour.jpg'", 3),
    ("KeyError", "'customer'", 1),
    ("TimeoutError", "upstream took longer than 30 s", 1),
]
WORKERS = [("w1@zen-01", 4, 3), ("w2@zen-01", 4, 2), ("w1@zen-02", 4, 1), ("w2@zen-02", 4, 4), ("w1@zen-03", 4, 0)]
GONE = "w9@zen-04"
TRACEBACK = """Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/tasks.py", line 41, in run
    return render(load(customer), month)
                  ^^^^^^^^^^^^^^
  File "/srv/app/pdf.py", line 112, in load
    return session.get(source, timeout=30).content
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/venv/lib/python3.11/site-packages/upstream/client.py", line 88, in get
    raise {error}
{error}
"""
HOURS = 24


@dataclass
class Sample:
    """Ids of what a page can be shown of, by status; the newest last."""

    tasks: dict[Status, list[str]] = field(default_factory=dict)
    #: Ids of nodes and groups by name.
    nodes: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    workflow: str = ""
    #: Of a rule, and of a user.
    rule: int = 0
    user: int = 0

    def large(self) -> str:
        """A task whose arguments and result are too long for its page."""
        return self.tasks[Status.SUCCESS][1]

    def task(self, status: Status) -> str:
        """A task in this status."""
        return self.tasks[status][-1]

    def group(self) -> str:
        """The fingerprint of the group with the newest dead letter."""
        return DeadLetter.objects.order_by("-id").values_list("fingerprint", flat=True)[0]


def fill() -> Sample:
    """Write the sample into an empty database and Redis."""
    chance = random.Random(7)
    sample = Sample()
    now = time.time()
    _dispatched(sample)
    statuses = [*[Status.SUCCESS] * 44, *[Status.FAILURE] * 5, *[Status.RETRY] * 2, *[Status.STARTED] * 4, *[Status.RECEIVED] * 2]
    chance.shuffle(statuses)
    events: list[Event] = []
    for number, status in enumerate(statuses):
        events += _history(sample, status, now - 7 * (len(statuses) - number) - 40, chance)
    apply(events)
    _family(sample)
    _large(sample)
    fill_logs(*(sample.task(status) for status in (Status.FAILURE, Status.STARTED, Status.RETRY, Status.SUCCESS)))
    _rollups(chance)
    _samples(chance)
    _heartbeats()
    _rules(sample)
    _notifications()
    _people(sample)
    fill_nodes(sample)
    return sample


def filled(emptying: Emptying) -> Iterator[Sample]:
    """Yield the sample for a module's fixture: the database and Redis are emptied before and after."""
    emptying()
    stream.client().flushdb()
    yield fill()
    emptying()
    # The sample's workers beat for an hour.
    stream.client().flushdb()


def _dispatched(sample: Sample) -> None:
    origin = Origin(source="page", sent_by="ada")
    due = datetime.now(UTC) + timedelta(hours=3)
    for status, not_before in ((Status.SCHEDULED, due), (Status.QUEUED, None)):
        done = dispatch(Dispatch(task="analyze_text", count=4, not_before=not_before), origin)
        sample.tasks[status] = [str(task_id) for task_id in done.ids]


def _history(sample: Sample, status: Status, at: float, chance: random.Random) -> list[Event]:
    task_id = str(new_id())
    sample.tasks.setdefault(status, []).append(task_id)
    number = len(sample.tasks[status])
    name, queue, kwargs, seconds = KINDS[1] if status == Status.RETRY else chance.choice(KINDS)
    worker = chance.choice(WORKERS)[0]
    common: dict[str, Any] = {
        "task_id": task_id, "worker": worker, "name": name, "queue": queue, "args": [], "kwargs": kwargs,
    }  # fmt: skip
    runtime = seconds * chance.uniform(0.7, 1.6)
    times = {"received_at": at + 0.4, "started_at": at + 0.5}
    steps = [
        Event(status=Status.QUEUED, at=at, **common),
        Event(status=Status.RECEIVED, at=at + 0.4, received_at=at + 0.4, **common),
    ]
    if status == Status.RECEIVED:
        return steps
    steps.append(Event(status=Status.STARTED, at=at + 0.5, received_at=at + 0.4, **common))
    if status == Status.STARTED:
        steps.append(_progress(number, at + 0.5, common))
    end = at + 0.5 + runtime
    common |= {"cpu": runtime * chance.uniform(0.1, 0.9), "memory": chance.randint(60, 400) * 2**20}
    if status == Status.SUCCESS:
        result = json.dumps({"word_count": 9, "unique_words": 8, "preview": "The quick brown fox"})
        steps.append(Event(status=status, at=end, runtime=runtime, result=result, **times, **common))
    elif status in {Status.FAILURE, Status.RETRY}:
        error_type, message, _ = ERRORS[2] if status == Status.RETRY else chance.choices(ERRORS, [item[2] for item in ERRORS])[0]
        failed: dict[str, Any] = {
            "error_type": error_type, "error_message": message, "runtime": runtime,
            "traceback": TRACEBACK.format(error=f"{error_type}: {message}"),
        }  # fmt: skip
        again = time.time() + 3600 * number
        steps.append(
            Event(
                status=Status.RETRY,
                at=end,
                not_before=end + 2 if status == Status.FAILURE else again,
                **failed,
                **times,
                **common,
            )
        )
        if status == Status.FAILURE:
            second = {"received_at": end + 2, "started_at": end + 2.1}
            steps.append(
                Event(status=status, at=end + 4, attempt=1, result='{"exc_type": "OSError"}', **failed, **second, **common)
            )
    return steps


def _progress(number: int, started_at: float, common: dict[str, Any]) -> Event:
    """How far a running task is, by its own account: the last of four, which is shown, has all that there can be."""
    now, done = time.time(), 180 * number
    progress = {
        "current": done, "total": 1000, "state": "PROGRESS" if number % 2 else "RENDERING",
        "meta": {"current": done, "file": "invoices/2026/10/harbour-and-sons.csv", "errors": []},
        "earlier": [now - 10, done - 40], "samples": 20,
    }  # fmt: skip
    return Event(status=Status.STARTED, at=now, started_at=started_at, progress=progress, **common)


def _family(sample: Sample) -> None:
    """Let the newest success have been sent by the one before, and have sent others."""
    before, parent = sample.tasks[Status.SUCCESS][-2:]
    Task.objects.filter(id=parent).update(parent_id=before)
    children = [*sample.tasks[Status.STARTED][:2], *sample.tasks[Status.FAILURE][:1], sample.tasks[Status.SUCCESS][0]]
    Task.objects.filter(id__in=children).update(parent_id=parent, root_id=before)
    Task.objects.filter(id=parent).update(root_id=before)
    Workflow.objects.create(id=before, created_at=timezone.now())
    planned = [
        {"task": name, "options": {"task_id": str(new_id())}}
        for name in ("mail.send_digest", "thumbs.resize", "reports.render_pdf")
    ]
    TaskMessage.objects.create(task_id=children[0], extras={"headers": {}, "embed": {"chain": planned}})
    sample.workflow = str(before)


def _large(sample: Sample) -> None:
    rows = [{"customer": 4000 + number, "name": f"Customer {number}", "token": "x"} for number in range(200)]
    Task.objects.filter(id=sample.large()).update(kwargs={"rows": rows})
    TaskResult.objects.filter(task_id=sample.large()).update(result=json.dumps({"sent": rows, "log": "all is well " * 200}))


def _rollups(chance: random.Random) -> None:
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    rows = []
    for back in range(10, HOURS * 60):
        for name, queue, _, seconds in KINDS[:2]:
            trouble = 180 < back < 190
            succeeded = chance.randint(2, 9) if not trouble else 1
            failed = chance.randint(3, 6) if trouble else int(chance.random() < 0.02)
            histogram, waits = [0] * BUCKETS, [0] * BUCKETS
            for _ in range(succeeded + failed):
                histogram[chance.randint(18, 24) if seconds < 1 else chance.randint(32, 36)] += 1
                waits[chance.randint(24, 28) if trouble else chance.randint(14, 19)] += 1
            rows.append(
                MinuteRollup(
                    minute=minute - timedelta(minutes=back),
                    name=name,
                    queue=queue,
                    succeeded=succeeded,
                    failed=failed,
                    runtime_seconds=seconds * (succeeded + failed),
                    runtime_histogram=histogram,
                    waiting_histogram=waits,
                )
            )
    MinuteRollup.objects.bulk_create(rows, ignore_conflicts=True)


def _samples(chance: random.Random) -> None:
    """Looks at workers and queues as the engine takes samples: busier by day, a backlog in the trouble; and workers' minutes."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    loads, queues = [], []
    for back in range(HOURS * 60):
        at = minute - timedelta(minutes=back)
        trouble = 180 < back < 200
        busy = 19 if trouble else round(9 + 5 * math.sin(back / 150)) + chance.randint(-2, 2)
        loads.append(LoadSample(minute=at, sampled_at=at, looks=1, workers=5, slots=20, busy=busy))
        depth = 60 + 20 * chance.randint(0, 4) if trouble else chance.randint(0, 4)
        queues.append(QueueSample(minute=at, queue="default", depth=depth, unacknowledged=busy))
    LoadSample.objects.bulk_create(loads, ignore_conflicts=True)
    QueueSample.objects.bulk_create(queues, ignore_conflicts=True)
    minutes = [
        WorkerMinute(
            minute=minute - timedelta(minutes=back), worker=name, succeeded=chance.randint(0, 2 * busy),
            failed=int(chance.random() < 0.03), memory_bytes=(180 + 40 * number - back + chance.randint(0, 12)) * 1_000_000,
        )
        for number, (name, _, busy) in enumerate(WORKERS) for back in range(60)
    ]  # fmt: skip
    memory = {"update_conflicts": True, "unique_fields": ["minute", "application", "worker"], "update_fields": ["memory_bytes"]}
    WorkerMinute.objects.bulk_create(minutes, **memory)


def _heartbeats() -> None:
    """Beat for workers that do not exist, with keys that live so long that they look fresh for an hour."""
    for name, slots, busy in [*WORKERS, (GONE, 4, 0)]:
        about = heartbeat.About(memory_bytes=210_000_000, pool="prefork", started_at=time.time() - 5_000)
        heartbeat.write(name, slots=slots, busy=busy, queues=["default", "mail", "reports"], about=about)
        left = 3600 if name != GONE else heartbeat.KEPT - 42
        stream.client().pexpire(f"zenith:worker:{name}", int(left * 1000))


def _rules(sample: Sample) -> None:
    """Rules that fire, are quiet and are muted, and a channel whose test failed."""
    now = datetime.now(UTC)
    chat = NotificationChannel.objects.create(name="On call", kind=Channel.SLACK, sealed="v2:", least="critical")
    common: dict[str, Any] = {"created_by": "ada", "channels": [chat.key]}
    firing = NotificationRule.objects.create(
        name="Reports fail", subject=Subject.FAILURES, threshold=2, minutes=60, severity="critical", **common
    )
    sample.rule = firing.pk
    NotificationRule.objects.create(
        name="The default queue is deep",
        subject=Subject.QUEUE_DEPTH,
        queue="default",
        threshold=1000,
        severity="warning",
        **common,
    )
    NotificationRule.objects.create(
        name="A worker for reports is gone", subject=Subject.WORKER_GONE, worker="reports*", severity="info",
        muted_until=now + timedelta(days=1),
    )  # fmt: skip
    Delivery.objects.create(
        channel=chat.key, step=Step.TEST, state=DeliveryState.GIVEN_UP, error="HTTP 404", created_at=now, due_at=now, attempts=1,
        begun_at=now, message=new_id(),
    )  # fmt: skip


def _people(sample: Sample) -> None:
    """People of each role, one of whom is shut out, and what they did."""
    for name, role in (("olga", "operator"), ("vera", "viewer"), ("bob", "admin")):
        user = User.objects.create(username=name, email=f"{name}@example.com", is_active=name != "bob")
        user.groups.add(Group.objects.get(name=role))
        sample.user = user.pk if name == "olga" else sample.user
        AuditEntry.objects.create(username=name, user_id=user.pk, action="login", address="192.0.2.7")
    detail = {"rule": "Reports fail", "severity": "critical", "channels": ["email"]}
    AuditEntry.objects.create(
        username="olga", action="POST /notifications/rules/new/", path="/notifications/rules/new/", status=302, detail=detail
    )
    AuditEntry.objects.create(
        username="vera", action="GET /settings/users/", path="/settings/users/", status=403, count=12, refusal=new_id(),
        detail={"why": "vera lacks the permission zenith_site.administer."}, address="2001:db8::17",
    )  # fmt: skip


def _notifications() -> None:
    """What the rules say of all this, and a queue that backed up and is well again."""
    now = datetime.now(UTC)
    by_kind = {rule.kind: rule for rule in rules()}
    behind = Alert(
        "reports",
        "Queue reports is backing up",
        "Its oldest task had been waiting for 5 m 2 s.",
        "/queues/of/reports/",
    )
    with transaction.atomic():
        report(by_kind[NotificationKind.QUEUE_AGE], Evaluation([behind]))
        for rule in by_kind.values():
            report(rule, rule.evaluate(frozenset()))
    Notification.objects.filter(kind=NotificationKind.QUEUE_AGE).update(
        opened_at=now - timedelta(hours=3), last_seen_at=now - timedelta(minutes=160), count=2,
        recovered_at=now - timedelta(minutes=158), recovery="No task has been waiting for 5 m any longer.",
    )  # fmt: skip
    told = {"created_at": now, "due_at": now + timedelta(hours=1), "begun_at": now, "message": new_id()}
    sent: dict[str, Any] = {"state": DeliveryState.SENT, "sent_at": now, "attempts": 1, **told}
    for notification in Notification.objects.all():
        steps = [Step.OPENED, Step.RECOVERED] if notification.over else [Step.OPENED]
        for step in steps:
            Delivery.objects.create(notification=notification, channel=Channel.EMAIL, step=step, **sent)
    newest = Notification.objects.order_by("-id")[0]
    Delivery.objects.create(
        notification=newest, channel=Channel.WEBHOOK, step=Step.OPENED, attempts=4, error="HTTP 502", **told
    )  # fmt: skip
