"""Estimate how long a task will wait in its queue, from the work before it and not from the queue's speed so far.

The speed of the last minutes says little: an idle queue was slow, and a queue of short tasks is fast until a long one comes.
So the work before a task is added up: tasks that wait or are reserved, by how long such tasks ran recently, and the remaining
time of running tasks. Each worker slot takes the next task as it becomes free; the order of different tasks is ignored.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heapreplace
from typing import Final

from django.db.models import F, Sum

from tasks_app.models import MinuteRollup, Task
from tasks_app.models.application import NATIVE_ID
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status

#: The time over which mean runtimes are measured.
WINDOW: Final = timedelta(hours=1)
#: The most tasks at workers that are read.
MOST_HELD: Final = 2_000


@dataclass(frozen=True, slots=True)
class Running:
    """A running task, and for how many seconds it has run."""

    name: str
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work before a task.

    Attributes:
        slots: those of the workers that consume its queue.
        waiting: how many tasks of each name wait before it, in its queue or reserved.
        running: what these workers run now.
        seconds: the recent mean runtime of each task name.
    """

    slots: int
    waiting: Mapping[str, int]
    running: Sequence[Running] = ()
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds until a task starts. `at_least`: a task has run longer than usual, so the wait may be longer."""

    seconds: float
    at_least: bool = False


def estimate(work: Work) -> Estimate | None:
    """Return how long a task will wait, or None if that is unknown: the runtime of some task before it is not known."""
    if not work.slots or not {*work.waiting, *(task.name for task in work.running)} <= work.seconds.keys():
        return None
    remaining = [work.seconds[task.name] - task.elapsed for task in work.running]
    is_overdue = any(seconds < 0 for seconds in remaining)
    # A task that has run longer than usual is assumed to need as long again.
    busy_for = [seconds if seconds >= 0 else task.elapsed for seconds, task in zip(remaining, work.running, strict=True)]
    # More tasks may run than there are slots, if the pool was shrunk.
    free_after = sorted([*busy_for, *[0.0] * max(0, work.slots - len(busy_for))])[-work.slots :]
    count = sum(work.waiting.values())
    mean = sum(number * work.seconds[name] for name, number in work.waiting.items()) / max(1, count)
    heapify(free_after)
    for _ in range(count):
        heapreplace(free_after, free_after[0] + mean)
    return Estimate(free_after[0], at_least=is_overdue)


def work_before(waiting: Mapping[str, int], consumers: Sequence[WorkerBeat], now: datetime) -> Work:
    """Return the work before a task that waits behind others in a queue. Two queries.

    `waiting`: how many tasks of each name are before it in the queue; `consumers`: the workers that consume the queue.
    """
    names = [beat.name for beat in consumers]
    held = Task.objects.filter(status__in=(Status.RECEIVED, Status.STARTED), worker__in=names, application=NATIVE_ID).order_by()
    before, running = Counter(waiting), []
    for name, status, started_at in held.values_list("name", "status", "started_at")[:MOST_HELD]:
        if status == Status.STARTED and started_at:
            running.append(Running(name, max(0.0, (now - started_at).total_seconds())))
        else:
            before[name] += 1
    names_before = {*before, *(task.name for task in running)}
    slots = sum(beat.slots for beat in consumers)
    return Work(slots=slots, waiting=before, running=running, seconds=_mean_runtimes(names_before, now))


def _mean_runtimes(names: set[str], now: datetime) -> dict[str, float]:
    recent = MinuteRollup.objects.filter(name__in=names, minute__gt=now - WINDOW, application=NATIVE_ID)
    runs = Sum(F("succeeded") + F("failed"))
    sums = recent.order_by().values_list("name").annotate(seconds=Sum("runtime_seconds"), runs=runs)
    return {name: seconds / count for name, seconds, count in sums if count}
