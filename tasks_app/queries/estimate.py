"""How long a task is going to wait in its queue, from what is before it and not from how fast the queue was.

The speed of the last minutes says little: an idle queue was slow, and one whose tasks were short is fast until a long one comes.
So the work before a task is summed up: what waits and what workers have reserved, by how long such tasks ran lately, and the rest
of what runs. Each of the workers' slots takes the next of them as it gets free; in which order kinds come is not looked at.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heapreplace
from typing import Final

from django.db.models import F, Sum

from tasks_app.models import MinuteRollup, Task
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status

#: Over which it is looked how long tasks of a kind run.
WINDOW: Final = timedelta(hours=1)
#: Tasks at workers that are looked at.
MOST_HELD: Final = 2_000


@dataclass(frozen=True, slots=True)
class Running:
    """A task that a worker runs, and for how many seconds it has."""

    name: str
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is before a task.

    Attributes:
        slots: of the workers that consume its queue.
        waiting: how many tasks of each kind wait before it, in its queue or reserved.
        running: what these workers run.
        seconds: how long tasks of a kind ran lately, on average.
    """

    slots: int
    waiting: Mapping[str, int]
    running: Sequence[Running] = ()
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds until a task begins. `at_least`: something runs for longer than such tasks do, so nobody knows for how long."""

    seconds: float
    at_least: bool = False


def estimate(work: Work) -> Estimate | None:
    """Return how long a task is going to wait; None where nobody can know: no task of a kind before it has ended lately."""
    if not work.slots or not {*work.waiting, *(one.name for one in work.running)} <= work.seconds.keys():
        return None
    left = [work.seconds[one.name] - one.elapsed for one in work.running]
    overdue = any(rest < 0 for rest in left)
    # What runs for longer than usual has, for all one knows, as long again before it.
    rests = [rest if rest >= 0 else one.elapsed for rest, one in zip(left, work.running, strict=True)]
    # More may run than there are slots now: somebody shrank the pool.
    free_after = sorted([*rests, *[0.0] * max(0, work.slots - len(rests))])[-work.slots :]
    count = sum(work.waiting.values())
    mean = sum(number * work.seconds[name] for name, number in work.waiting.items()) / max(1, count)
    heapify(free_after)
    for _ in range(count):
        heapreplace(free_after, free_after[0] + mean)
    return Estimate(free_after[0], at_least=overdue)


def work_before(waiting: Mapping[str, int], serving: Sequence[WorkerBeat], now: datetime) -> Work:
    """Return what is before a task that waits behind others in a queue. Two queries.

    `waiting`: how many of each kind are before it in the queue; `serving`: the workers that consume it.
    """
    names = [beat.name for beat in serving]
    held = Task.objects.filter(status__in=(Status.RECEIVED, Status.STARTED), worker__in=names).order_by()
    before, running = Counter(waiting), []
    for name, status, started_at in held.values_list("name", "status", "started_at")[:MOST_HELD]:
        if status == Status.STARTED and started_at:
            running.append(Running(name, max(0.0, (now - started_at).total_seconds())))
        else:
            before[name] += 1
    kinds = {*before, *(one.name for one in running)}
    return Work(slots=sum(beat.slots for beat in serving), waiting=before, running=running, seconds=_mean_runtimes(kinds, now))


def _mean_runtimes(names: set[str], now: datetime) -> dict[str, float]:
    lately = MinuteRollup.objects.filter(name__in=names, minute__gt=now - WINDOW).order_by().values_list("name")
    runs = Sum(F("succeeded") + F("failed"))
    found = lately.annotate(seconds=Sum("runtime_seconds"), runs=runs)
    return {name: seconds / count for name, seconds, count in found if count}
