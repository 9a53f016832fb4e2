"""What an observer remembers of a task that has not ended: its runs, and which of them an event is about.

A run is one delivery of one attempt at one worker. Celery tells the attempt only when a task is sent or received, so any other
event is about a run of the worker that tells it. A worker tells of a run in its order; what several workers tell may be mixed.

- A run whose worker died stays until the task has ended: nothing tells of it any more, as its worker's next process is another.
- A start of which no reception was heard is the first of its attempt, or else another delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from zenith_worker.wire.states import RANKS, Status, attempt_of, delivery_of, nesting_of

#: Runs of one task at once that are remembered.
MOST_RUNS: Final = 10
#: Seconds by which two records of one event's time may differ: PostgreSQL keeps microseconds.
_GRAIN: Final = 2e-6
#: Seconds by which a run may start before it is due: the times are of several clocks.
_EARLY: Final = 0.01
_STATUSES: Final = {rank: status for status, rank in RANKS.items()}


class Known(NamedTuple):
    """What PostgreSQL has of a task. Times are Unix time in seconds."""

    position: int
    name: str = ""
    worker: str = ""
    received_at: float | None = None
    started_at: float | None = None


class Run:
    """A run that was received or has started; `asked`: its worker told so when it was asked, and may still tell of itself."""

    __slots__ = ("asked", "attempt", "delivery", "due_at", "nesting", "pid", "received_at", "started_at", "worker")

    def __init__(self, nesting: int, attempt: int, delivery: int, worker: str = "", pid: int | None = None) -> None:
        self.nesting, self.attempt, self.delivery, self.worker, self.pid = nesting, attempt, delivery, worker, pid
        #: Before then it does not start.
        self.due_at: float | None = None
        self.received_at: float | None = None
        self.started_at: float | None = None
        self.asked = False

    @property
    def order(self) -> tuple[int, int, int]:
        """What orders a task's runs."""
        return self.nesting, self.attempt, self.delivery


class TaskRuns:
    """A task that has not ended.

    Attributes:
        nesting, attempt, deliveries: how often its body replaced it, its newest attempt, and how often the message of that was
            delivered again.
        received: whether that was received.
        put_back: whether that waits for its next delivery, which `deliveries` counts already.
        sent: whether its sender was heard.
        body, name: what was received in that, if it was heard.
        retry_at: when the next attempt is due.
    """

    __slots__ = (
        "_before",
        "_received_at",
        "attempt",
        "body",
        "deliveries",
        "name",
        "nesting",
        "over_before",
        "put_back",
        "received",
        "retry_at",
        "runs",
        "sent",
    )

    def __init__(self) -> None:
        self.nesting = self.attempt = self.deliveries = 0
        self.received = self.put_back = self.sent = False
        self.body: int | None = None
        self.name = ""
        self.retry_at: float | None = None
        self.runs: list[Run] = []
        # Attempts before this one are known to be over.
        self.over_before = 0
        # When the newest run was received; and of the attempt before, the number of its next delivery and when it was received.
        self._received_at: float | None = None
        self._before: tuple[int, int, float | None] = (0, 0, None)

    def begin(self, attempt: int) -> None:
        """Begin another attempt."""
        self._before = self.attempt, self.deliveries + (self.received and not self.put_back), self._received_at
        self.attempt, self.deliveries, self.received, self.put_back = attempt, 0, False, False
        self.body, self.name = None, ""

    def told_before(self, attempt: int, worker: str, pid: int | None, at: float) -> Run | None:
        """Return the run that is told to be received if that is known, or if its start was told before."""
        for run in self._of(worker, pid):
            if run.attempt == attempt and run.nesting == self.nesting and (_is_at(run.received_at, at) or _lacks(run, at)):
                run.received_at = at
                return run
        return None

    def receive(self, attempt: int, worker: str, pid: int | None, at: float, due_at: float | None = None) -> Run:
        """Return the run that was received: the newest delivery of the newest attempt, or one of an attempt before, told late."""
        if attempt == self.attempt:
            self.received, self.put_back, self._received_at = True, False, at
            run = self.add(worker, pid)
        else:
            before, next_, last_at = self._before
            delivery = 0 if before != attempt else next_ - 1 if _is_at(last_at, at) else next_
            self._before = attempt, delivery + 1, at
            run = Run(self.nesting, attempt, delivery, worker, pid)
            if attempt >= self.over_before:
                self._keep(run)
        run.received_at, run.due_at = at, due_at
        return run

    def started_in(self, worker: str, pid: int | None, at: float, *, asked: bool = False) -> Run | None:
        """Return the run that has started; None for what is known better than by a worker that was `asked`."""
        own = self._of(worker, pid)
        for run in own:
            if _is_at(run.started_at, at) or (run.asked and run.started_at is not None and not asked):
                run.started_at, run.asked = at, False
                return run
        waiting = [run for run in own if run.started_at is None]
        if asked:
            waiting = [run for run in waiting if run.received_at is None or run.received_at <= at]
            if not waiting and any(max(run.received_at or 0, run.started_at or 0) >= at for run in self.runs):
                return None
        due = [run for run in waiting if run.due_at is None or run.due_at <= at + _EARLY]
        if len(due) > 1:
            due = [min(due, key=lambda run: (run.pid != pid, run.order))]
        run = due[0] if due else self._unheard(waiting, worker, pid)
        run.started_at, run.asked = at, asked
        if run.nesting != self.nesting:
            # What it was replaced by has been heard already.
            self.runs.remove(run)
        return run

    def first_of(self, worker: str, pid: int | None) -> Run:
        """Return the run that an event of a worker is about if another one may follow it at the same worker."""
        own = self._of(worker, pid)
        return min([run for run in own if run.started_at is not None] or own or [self._newest()], key=_order)

    def retried_in(self, worker: str, pid: int | None) -> Run:
        """Return the run that is tried again. The next one may have been received already, there or elsewhere."""
        run = self.first_of(worker, pid)
        is_next = any(other.attempt == self.attempt and other.started_at is None for other in self.runs)
        if run.started_at is None and run.attempt == self.attempt > self.over_before and is_next:
            # Nothing of it was heard.
            return Run(self.nesting, run.attempt - 1, 0, worker, pid)
        return run

    def last_of(self, worker: str, pid: int | None) -> Run:
        """Return the run that an event of a worker is about which ends the task.

        Runs before it have ended as well, although nobody may have heard of that.
        """
        own = self._of(worker, pid)
        return own[0] if len(own) == 1 else max(own or [self._newest()], key=_order)

    def over(self, ended: Run) -> None:
        """Note that a run has ended or was put back, and with it those of the attempts before at the same worker."""
        if self.runs == [ended]:
            self.runs = []
            return
        own = self._of(ended.worker, ended.pid)
        self.runs = [run for run in self.runs if run is not ended and (run.attempt >= ended.attempt or run not in own)]

    def forget_before(self, attempt: int, worker: str, pid: int | None, unheard_until: float) -> None:
        """Forget a worker's runs of the attempts before this one if their end may not have been heard."""
        if not self.runs:
            return
        own = self._of(worker, pid)
        self.runs = [
            run for run in self.runs
            if run.attempt >= attempt or run not in own or (run.started_at or run.received_at or 0.0) >= unheard_until
        ]  # fmt: skip

    def replaced(self) -> Run:
        """Note that the body of a run put another task in its place; return that run."""
        first = min(self.runs or [self._newest()], key=lambda run: (run.started_at is None, run.order))
        # Of one whose start was not told yet, that will be told.
        self.runs = [run for run in self.runs if run is first and run.started_at is None]
        self.nesting, self.sent, self.over_before = self.nesting + 1, False, 0
        self.begin(0)
        return first

    def is_other(self, body: int, name: str) -> bool:
        """Whether what was received differs from what had been received in this attempt, as far as that is known."""
        if self.body is None:
            return bool(self.name and name) and self.name != name
        return self.body != body

    def is_newest(self, run: Run) -> bool:
        """Whether a run is the newest delivery of the newest attempt."""
        return run.order == (self.nesting, self.attempt, self.deliveries)

    def runs_at(self, worker: str) -> bool:
        """Whether a run is known to have started at a worker."""
        return any(run.worker == worker and run.started_at is not None for run in self.runs)

    def add(self, worker: str, pid: int | None) -> Run:
        """Add a run of the newest delivery."""
        run = self._newest()
        run.worker, run.pid = worker, pid
        self._keep(run)
        return run

    def _keep(self, run: Run) -> None:
        self.runs.append(run)
        if len(self.runs) > MOST_RUNS:
            del self.runs[0]

    def _of(self, worker: str, pid: int | None) -> list[Run]:
        return [run for run in self.runs if run.worker == worker and (run.pid == pid or None in (run.pid, pid))]

    def _unheard(self, waiting: list[Run], worker: str, pid: int | None) -> Run:
        """Return the run that has started at a worker of which nobody heard that it was received."""
        next_ = min(waiting, key=_order, default=None)
        if next_ is not None and next_.attempt > self.over_before:
            # What waits there is not due: it is the next attempt.
            run = Run(next_.nesting, next_.attempt - 1, 0, worker, pid)
            self._keep(run)
            return run
        if self.received and not self.put_back and self.runs:
            self.deliveries += 1
        self.received, self.put_back = True, False
        own = self._of(worker, pid)
        self.runs = [run for run in self.runs if run not in own]
        return self.add(worker, pid)

    def _newest(self) -> Run:
        return Run(self.nesting, self.attempt, self.deliveries)


def _order(run: Run) -> tuple[int, int, int]:
    return run.order


def runs_of(known: Known, *, is_retried: bool = True) -> TaskRuns:
    """Return a task as PostgreSQL has it; `is_retried`: after a retry, what comes next is of the next attempt."""
    task, status = TaskRuns(), _STATUSES.get(known.position & 0xFF)
    task.nesting, task.attempt, task.deliveries = (part(known.position) for part in _PARTS)
    if status == Status.RETRY and is_retried:
        task.over_before = task.attempt + 1
        task.begin(task.attempt + 1)
    elif status == Status.REPLACED:
        task.nesting += 1
        task.begin(0)
    elif status in _WAITS:
        task.sent, task.put_back = True, task.deliveries > 0
    else:
        task.received = True
        task.name = "" if task.nesting else known.name
        if status in (Status.RECEIVED, Status.STARTED):
            run = task.add(known.worker, None)
            run.received_at = known.received_at
            run.started_at = (known.started_at or known.received_at or 0.0) if status == Status.STARTED else None
    return task


_PARTS: Final[Iterable[Callable[[int], int]]] = (nesting_of, attempt_of, delivery_of)
_WAITS: Final = frozenset({Status.SCHEDULED, Status.PENDING, Status.QUEUED})


def _is_at(known: float | None, at: float) -> bool:
    return known is not None and abs(known - at) <= _GRAIN


def _lacks(run: Run, at: float) -> bool:
    """Whether it was not heard that a run was received, and that may have been then."""
    return run.received_at is None and (run.asked or (run.started_at is not None and at <= run.started_at))
