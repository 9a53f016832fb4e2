"""Bulk dispatch of ten thousand tasks, compared with a loop that sends them one by one."""

from __future__ import annotations

import sys
import time

from bench import tasks
from bench.lab import Lab
from bench.processes import run_quietly
from bench.report import Figure, Report, at_least, progress, say

COUNT = 10_000
#: Tasks of the loops, a tenth of all; their time is scaled up.
LOOPED = 1_000
ROUNDS = 5


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    dispatched, looped, delayed = [], [], []
    with Lab() as lab:
        lab.load_zenith()
        _dispatch(lab, 100)
        _loop(lab, 10)
        total = rounds or (3 if quick else ROUNDS)
        for number in range(total):
            progress(f"bulk: round {number + 1} of {total}")
            dispatched.append(_dispatch(lab, COUNT))
            looped.append(_loop(lab, LOOPED) * COUNT / LOOPED)
            delayed.append(_delay(lab, LOOPED) * COUNT / LOOPED)
            say(f"bulk: round {number + 1} of {total}: {dispatched[-1]:.2f} s, {looped[-1]:.2f} s, {delayed[-1]:.2f} s")
    report = Report(f"bulk: {COUNT:,} tasks")
    report.notes = [
        "  A dispatch writes a row, events and a message per task; the loop writes a row and a message; delay() only a message."
    ]
    ratios = [loop_seconds / dispatch_seconds for loop_seconds, dispatch_seconds in zip(looped, dispatched, strict=True)]
    report.figures = [
        Figure("bulk: one dispatch, faster than a loop of create() + apply_async()", ratios, target=at_least(8.0)),
        Figure(
            "bulk: … than a loop of bare delay()",
            [loop_seconds / dispatch_seconds for loop_seconds, dispatch_seconds in zip(delayed, dispatched, strict=True)],
        ),
        Figure("bulk: dispatch() of 10,000", dispatched, unit="s"),
    ]
    report.details["seconds"] = {"dispatch": dispatched, "loop": looped, "delay": delayed}
    return report


def _dispatch(lab: Lab, count: int) -> float:
    """Dispatch, and check that all rows, events and messages exist."""
    from tasks_app.dispatch.create import Dispatch, Origin, dispatch
    from tasks_app.models import Task, TaskEvent

    started = time.perf_counter()
    done = dispatch(Dispatch(task=tasks.NAME, count=count), Origin(source="command"))
    seconds = time.perf_counter() - started
    assert Task.objects.filter(batch=done.batch_id, status="QUEUED").count() == count
    assert TaskEvent.objects.filter(task__batch=done.batch_id, status="QUEUED").count() == count
    _empty_queue(lab, count)
    return seconds


def _loop(lab: Lab, count: int) -> float:
    """Create a row and send its message, one task after the other."""
    from django.utils import timezone

    from tasks_app.models import Task
    from zenith_worker.wire.headers import DISPATCHED_HEADER
    from zenith_worker.wire.ids import new_id

    started = time.perf_counter()
    for _ in range(count):
        now = timezone.now()
        row = Task.objects.create(
            id=new_id(), name=tasks.NAME, queue="default", status="QUEUED", created_at=now, queued_at=now, source="command"
        )
        # The header keeps Zenith's own signal handler from reporting the task.
        tasks.noop.apply_async(task_id=str(row.pk), headers={DISPATCHED_HEADER: 1})
    seconds = time.perf_counter() - started
    _empty_queue(lab, count)
    return seconds


def _delay(lab: Lab, count: int) -> float:
    """Send with plain Celery, without any row."""
    command = [sys.executable, "-m", "bench.peers.publish", "bench.peers.bare", "-", tasks.NAME, str(count)]
    return float(run_quietly(command, {"BENCH_BROKER": lab.redis_url(1)}))


def _empty_queue(lab: Lab, expected: int) -> None:
    client = lab.redis(0)
    assert client.llen("default") == expected
    client.delete("default")
