"""The sentence that says why a task is where it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_app.models import Task
from tasks_app.queries.estimate import Estimate
from tasks_app.queries.status_explanation import MAX_COUNTED, TaskContext, explain
from zenith_worker.wire.heartbeat import Waiting, WorkerBeat
from zenith_worker.wire.states import Status, position

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


def worker(**values: Any) -> WorkerBeat:
    defaults: dict[str, Any] = {
        "name": "w1@host", "pid": 1, "slots": 2, "busy": 2, "queues": ("reports",), "version": "5", "instance": "i", "held": (),
        "tags": (), "heartbeat_age": 1.0,
    }  # fmt: skip
    return WorkerBeat(**{**defaults, **values})


def task(status: Status, attempt: int = 0, **values: Any) -> Task:
    return Task(status=status, position=position(attempt, 0, status), queue="reports", max_retries=3, **values)


def context(**values: Any) -> TaskContext:
    return TaskContext(now=NOW, **values)


SENTENCES: list[tuple[Task, TaskContext, str]] = [
    (task(Status.SCHEDULED, not_before=NOW + timedelta(hours=3)), context(), "Scheduled; due in 3 h."),
    (task(Status.SCHEDULED, not_before=NOW), context(), "Scheduled; due now."),
    (task(Status.QUEUED), context(), "No worker consumes the queue reports."),
    (task(Status.QUEUED), context(workers=[worker(queues=("other",))]), "No worker consumes the queue reports."),
    (task(Status.QUEUED), context(workers=[worker(heartbeat_age=60.0)]), "No worker consumes the queue reports."),
    (task(Status.QUEUED), context(paused=True), "The queue reports is paused; the task waits until the queue is resumed."),
    (task(Status.PENDING), context(paused=True), "The queue reports is paused"),
    (task(Status.QUEUED), context(workers=None), "The broker is unreachable"),
    (task(Status.QUEUED), context(workers=[worker()]), "Next in the queue reports; all its workers are busy."),
    (task(Status.QUEUED), context(workers=[worker(busy=1)]), "Next in the queue reports."),
    (task(Status.QUEUED), context(workers=[worker()], ahead=1240), "Waiting behind 1,240 others in the queue reports."),
    (
        task(Status.QUEUED), context(workers=[worker()], ahead=1240, wait=Estimate(40.0)),
        "Waiting behind 1,240 others in the queue reports. Expected to start in about 40 s.",
    ),
    (
        task(Status.QUEUED), context(workers=[worker()], wait=Estimate(300.0, at_least=True)),
        "Next in the queue reports; all its workers are busy. Expected to start in at least 5 min.",
    ),
    (
        task(Status.QUEUED),
        context(workers=[worker(busy=0, prefetch=2, tags=("a", "b"), limited=(Waiting("shop.sync", 2, "10/m"),))]),
        "Next in the queue reports. w1@host has 2 free slots, but takes no more messages while it holds 2:"
        " 2 of shop.sync wait there for their rate limit of 10/m.",
    ),
    (task(Status.QUEUED), context(workers=[worker(busy=1, prefetch=2, tags=("a",))]), "Next in the queue reports."),
    (
        task(Status.QUEUED), context(workers=[worker()], holder=worker()),
        "w1@host holds it until it is due: it was sent with an ETA or a countdown.",
    ),
    (
        task(Status.QUEUED), context(workers=[worker(prefetch=1204, not_yet=(Waiting("shop.later", 1200),))]),
        "w1@host holds 1,200 tasks that wait for their ETA, most of them shop.later. Each raises its prefetch, now 1,204,",
    ),
    (
        task(Status.RECEIVED, worker="w1@host"), context(workers=[worker(prefetch=24, not_yet=(Waiting("shop.later", 20),))]),
        "w1@host has reserved it and is running other tasks first. w1@host holds 20 tasks that wait for their ETA",
    ),
    (
        task(Status.QUEUED, name="shop.sync"),
        context(workers=[worker()], holder=worker(limited=(Waiting("shop.sync", 1, "1/h"),))),
        "w1@host holds it; 1 of its kind waits there for its rate limit of 1/h.",
    ),
    (task(Status.QUEUED), context(workers=[worker()], ahead=MAX_COUNTED + 1), "behind more than 10,000 others"),
    (
        task(Status.RECEIVED, worker="w1@host"), context(workers=[worker()]),
        "w1@host has reserved it and is running other tasks first.",
    ),
    (
        task(Status.STARTED, worker="w1@host", started_at=NOW - timedelta(seconds=12)), context(workers=[worker()]),
        "w1@host has been running it for 12 s.",
    ),
    (task(Status.STARTED, worker="w2@host"), context(workers=[worker()]), "w2@host has stopped sending heartbeats"),
    (task(Status.STARTED, worker="w1@host"), context(workers=[worker(heartbeat_age=9.0)]), "w1@host has stopped sending"),
    (
        task(Status.RETRY, attempt=1, not_before=NOW + timedelta(seconds=3)), context(),
        "Attempt 2 failed; attempt 3 of 4 starts in 3 s.",
    ),
    (
        task(Status.RETRY, attempt=1, error_type="TimeoutError"), context(workers=[worker(), worker(busy=0)]),
        "Attempt 2 failed with TimeoutError; attempt 3 of 4 starts now. 2 workers consume its queue reports, 2 slots free.",
    ),
    (task(Status.RETRY), context(workers=[worker(queues=("other",))]), "No worker consumes its queue reports."),
    (task(Status.RETRY, attempt=1), context(), "Attempt 2 failed; attempt 3 of 4 starts now."),
    (task(Status.SUCCESS, runtime=0.25), context(), "Succeeded after 250 ms."),
    (task(Status.FAILURE, attempt=3, error_type="ValueError"), context(), "Failed after attempt 4: ValueError."),
    (
        task(Status.REVOKED), context(),
        "Revoked: it was cancelled, or will not run for the reason given in its timeline.",
    ),
    (task(Status.IGNORED), context(), "It ran and raised Ignore, so it has no outcome."),
    (task(Status.REPLACED), context(), "It sent other tasks in its place; the last of them decides its outcome."),
    (task(Status.STARTED, cancel_requested_at=NOW), context(), "A cancellation was requested"),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "task_context", "sentence"), SENTENCES)
def test_the_sentence(subject: Task, task_context: TaskContext, sentence: str) -> None:
    assert sentence in explain(subject, task_context)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_one(status: Status) -> None:
    assert explain(task(status), context()).endswith(".")
