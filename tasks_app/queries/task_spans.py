"""A task's steps, and the time it spent in each status between them.

Events tell most of it; the runs fill the gaps (a short run is reported once, and old events are pruned). Steps are ordered by
position, whatever the clocks say; if two clocks disagree, a span has length zero, never a negative one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from tasks_app.models import Task, TaskEvent
from tasks_app.queries.attempts import AttemptView
from zenith_worker.wire.states import TERMINAL, Status, delivery_of, position


@dataclass(frozen=True, slots=True)
class Step:
    """A task entered a status. `attempt` counts from 1, `delivery` how often the attempt had been delivered before."""

    status: Status
    at: datetime
    attempt: int
    delivery: int = 0


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """A time spent in one status; `into` is the next status, or None if the task is still in this one."""

    status: Status
    start: datetime
    end: datetime
    attempt: int
    delivery: int
    into: Status | None

    @property
    def seconds(self) -> float:
        """The length of the span."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class TaskSpans:
    """All steps and spans of a task, oldest first."""

    steps: list[Step]
    spans: list[TaskSpan]

    def seconds_in(self, status: Status) -> float:
        """Return how long the task was in a status in total."""
        return sum(span.seconds for span in self.spans if span.status == status)


def task_spans(task: Task, events: Iterable[TaskEvent], attempts: Sequence[AttemptView], now: datetime) -> TaskSpans:
    """Return a task's steps and spans; the span of its current status lasts until `now`."""
    steps = _steps(events, attempts)
    due = task.not_before if steps and steps[-1].attempt == task.attempt else None
    return TaskSpans(steps, _spans(_with_backoffs(steps, _due_times(steps, attempts, due)), task.finished_at or now))


def _steps(events: Iterable[TaskEvent], attempts: Iterable[AttemptView]) -> list[Step]:
    # Negative positions are notes, not steps.
    by_position = {
        event.position: Step(Status(event.status), event.at, event.attempt, delivery_of(event.position))
        for event in events
        if event.position >= 0
    }
    for run in attempts:
        ended = run.finished_at if run.status in (*TERMINAL, Status.RETRY) else None
        for status, at in ((Status.RECEIVED, run.received_at), (Status.STARTED, run.started_at), (Status(run.status), ended)):
            if at is not None:
                place = position(run.attempt - 1, run.delivery, status, run.nesting)
                by_position.setdefault(place, Step(status, at, run.attempt, run.delivery))
    return [by_position[place] for place in sorted(by_position)]


def _due_times(steps: Sequence[Step], attempts: Iterable[AttemptView], due: datetime | None) -> dict[tuple[int, int], datetime]:
    """Return, by attempt and delivery, when the next attempt was due; `due` is for the newest, whose run may not be stored."""
    newest = max(((step.attempt, step.delivery) for step in steps if step.status == Status.RETRY), default=None)
    newest_due = {newest: due} if newest and due else {}
    return newest_due | {(run.attempt, run.delivery): run.due_at for run in attempts if run.status == Status.RETRY and run.due_at}


def _with_backoffs(steps: Sequence[Step], dues: Mapping[tuple[int, int], datetime]) -> list[Step]:
    """Return the steps, with each back-off ending when the next attempt was due, or if that is unknown, when it started.

    A short back-off is spent at a worker, which has already received the next attempt's message. If the message was received
    after it was due, it waited in the queue like any other.
    """
    adjusted = list(steps[:1])
    for index, (before, step) in enumerate(pairwise(steps), start=1):
        due = dues.get((before.attempt, before.delivery))
        if before.status == Status.RETRY and step.status == Status.RECEIVED:
            started = steps[index + 1].at if index + 1 < len(steps) else None
            step = replace(step, at=max(step.at, min(filter(None, (due or started, started)), default=step.at)))
        at_worker = step.status in (Status.RECEIVED, Status.STARTED)
        if before.status == Status.RETRY and at_worker and due is not None and before.at < due < step.at:
            adjusted.append(replace(before, status=Status.QUEUED, at=due))
        adjusted.append(step)
    return adjusted


def _spans(steps: Sequence[Step], now: datetime) -> list[TaskSpan]:
    spans: list[TaskSpan] = []
    for index, step in enumerate(steps):
        if step.status in TERMINAL:
            break
        following = steps[index + 1] if index + 1 < len(steps) else None
        start = max(spans[-1].end, step.at) if spans else step.at
        end = max(start, following.at if following else now)
        spans.append(TaskSpan(step.status, start, end, step.attempt, step.delivery, following.status if following else None))
    return spans
