"""From Celery's events to the steps of tasks: a pure rule with a bounded memory of the newest ids.

Celery tells the attempt only when a task is sent or received (`retries`), so what follows belongs to the attempt that was
received last and has not ended. A worker reports a task's steps in their order, but the next attempt may be received, there or
elsewhere, before the last one is reported as retried.

- A task that is received again in the same attempt is another delivery of its message, or, if its name or its arguments differ,
  what replaced it (`Task.replace`): of a replacement Celery tells nothing else.
- Tasks seen from the middle on are looked up in PostgreSQL, which tells the attempt that an earlier observer saw.
- An event that is told twice gives the same step, which is recorded once.

Whatever is not as Celery writes it is an `OddEventError`; everything is from strangers.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tasks_app.watching import representations
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status, attempt_of, delivery_of, nesting_of

#: Tasks that are remembered: the newest that have not ended. Each takes some 400 bytes.
REMEMBERED: Final = 50_000
#: Seconds by which an event's own time may be before its arrival: a worker keeps events while its broker is away. Events from
#: further away, and those from the future, happened when they arrived: their worker's clock is wrong.
OLDEST: Final = 3600.0
#: Characters of an id and of a name.
ID_KEPT: Final = 1024
NAME_KEPT: Final = 255
#: The error of a task whose name a worker does not know.
NOT_REGISTERED: Final = "NotRegistered"
#: Attempts that a stranger may claim.
_MOST_ATTEMPTS: Final = 1 << 20


class OddEventError(ValueError):
    """An event is not as Celery writes it."""


#: A member of what workers say when they are asked, which has the form of an event: it tells of no delivery of its own.
ASKED: Final = "zenith_asked"


class _Task:
    """What is remembered of a task that has not ended."""

    __slots__ = (
        "attempt",
        "body",
        "deliveries",
        "nesting",
        "put_back",
        "received",
        "retry_at",
        "running",
        "sent",
        "started_at",
        "unstarted",
        "waiting",
    )

    def __init__(self, attempt: int = 0, nesting: int = 0, delivery: int = 0, *, received: bool = False) -> None:
        self.nesting = nesting
        #: Whether its sender was heard.
        self.sent = False
        #: The newest attempt, whether it was received, and from where and when.
        self.attempt = attempt
        self.received: Any = received
        #: Attempts that were received and have not started, and those that have started and not ended.
        self.waiting: list[int] = []
        self.running: list[int] = []
        self.started_at: float | None = None
        #: The nesting and attempt of a run that was replaced before anybody heard that it started.
        self.unstarted: tuple[int, int] | None = None
        #: How often the newest attempt's message was delivered again, and whether it waits for that.
        self.deliveries = delivery
        self.put_back = False
        self.body: Any = None
        self.retry_at: float | None = None

    def current(self) -> int:
        """Return the attempt that an event without a number is about, if another attempt may follow it."""
        return min(self.running or self.waiting or [self.attempt])

    def last(self) -> int:
        """Return the attempt that an event without a number is about which ends the task.

        Attempts before it have ended as well, although nobody may have heard of that.
        """
        return max([*self.running, *self.waiting] or [self.attempt])

    def delivery(self, attempt: int) -> int:
        return self.deliveries if attempt == self.attempt else 0

    def over(self, attempt: int) -> None:
        """Note that an attempt has ended or was put back."""
        self.running = [item for item in self.running if item > attempt]
        self.waiting = [item for item in self.waiting if item > attempt]

    def begin(self, attempt: int) -> None:
        self.attempt, self.received, self.deliveries, self.put_back = attempt, False, 0, False


class Heard(NamedTuple):
    """A valid event: its own members, and the time that counts."""

    id: str
    at: float
    worker: str
    body: Mapping[str, Any]


#: Returns the positions of tasks by id, as far as they are recorded.
Positions = Callable[[Sequence[str]], Mapping[str, int]]


class Translator:
    """Turns the events of one application into steps of its tasks. Not safe for threads."""

    def __init__(self, positions: Positions = lambda _: {}, *, most: int = REMEMBERED) -> None:
        self._positions, self._most = positions, most
        self._tasks: OrderedDict[str, _Task] = OrderedDict()
        # Rejected for good: Celery may still tell why.
        self._rejected: dict[str, Event] = {}
        # The newest that failed: Celery 5.7 tells of a rejection for good only after the failure.
        self._failed_lately: OrderedDict[str, None] = OrderedDict()

    def look_up(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Look up the tasks that are seen from the middle on, so that their steps belong to the right attempt.

        Those whose first event tells its attempt are not looked up.
        """
        tells: dict[str, bool] = {}
        for event in events:
            id_ = event.get("uuid")
            if isinstance(id_, str) and 1 <= len(id_) <= ID_KEPT and event.get("type") in _RULES and id_ not in self._tasks:
                tells.setdefault(id_, "retries" in event)
        unknown = sorted(id_ for id_, has_attempt in tells.items() if not has_attempt)
        for id_, position in self._positions(unknown).items() if unknown else ():
            self._remember(id_, _Task(attempt_of(position), nesting_of(position), delivery_of(position), received=True))

    def steps(self, event: Mapping[str, Any], received: float, oldest: float = OLDEST) -> list[Event]:
        """Return the steps that an event tells, none for one that tells none. Raises OddEventError.

        `received`: when it arrived, as Unix time; `oldest`: how many seconds before that it may have happened.
        """
        rule = _RULES.get(event.get("type") or "")
        if rule is None:
            return []
        heard = heard_at(event, received, oldest)
        task = self._tasks.get(heard.id)
        if task is None:
            task = self._remember(heard.id, _Task())
        else:
            self._tasks.move_to_end(heard.id)
        steps = rule(self, heard, task)
        if steps and steps[-1].status in _ENDS:
            self._tasks.pop(heard.id, None)
        return steps

    def rejected(self, before: float) -> list[Event]:
        """Return the failures of tasks that were rejected for good before this time, of which Celery told nothing else."""
        due = [id_ for id_, event in self._rejected.items() if event.at <= before]
        return [self._rejected.pop(id_) for id_ in due]

    @property
    def has_rejected(self) -> bool:
        """Whether tasks were rejected for good of which Celery may still tell why."""
        return bool(self._rejected)

    @property
    def remembered(self) -> int:
        """How many tasks are remembered."""
        return len(self._tasks)

    def knows(self, id_: str) -> bool:
        """Whether a task is remembered, and so was heard of lately."""
        return id_ in self._tasks

    def _remember(self, id_: str, task: _Task) -> _Task:
        self._tasks[id_] = task
        if len(self._tasks) > self._most:
            self._tasks.popitem(last=False)
        return task

    # --- One rule for each type of event ---

    def _sent(self, heard: Heard, task: _Task) -> list[Event]:
        attempt = _attempt(heard.body)
        if attempt:
            # Of a retry its worker tells as well; only when it is due is told here.
            task.retry_at = moment_of(heard.body.get("eta"))
            return []
        # A sender publishes the task and then the event, which a quick worker's events may overtake.
        replaced = self._replaced(heard, task) if task.running and task.sent else []
        task.sent = True
        queue = _name(heard.body, "queue")
        return [*replaced, _step(heard, task, Status.QUEUED, attempt, queue=queue, worker="", **_origin(heard.body))]

    def _received(self, heard: Heard, task: _Task) -> list[Event]:
        if ASKED in heard.body:
            return self._has(heard, task)
        attempt, source = _attempt(heard.body), (heard.worker, heard.at)
        body = hash((str(heard.body.get("name")), str(heard.body.get("args")), str(heard.body.get("kwargs"))))
        replaced: list[Event] = []
        # Of the attempt before this one, Celery may tell later that it is tried again; of those before that, it was not heard.
        task.over(attempt - 2)
        if attempt > task.attempt:
            task.begin(attempt)
        elif task.received and task.received != source and attempt == task.attempt:
            if task.body is not None and task.body != body and not task.put_back:
                replaced = self._replaced(heard, task)
                task.begin(attempt)
            else:
                task.deliveries += 0 if task.put_back else 1
        if attempt == task.attempt:
            if task.received != source and attempt not in task.waiting:
                task.waiting.append(attempt)
            task.received, task.body, task.put_back, task.retry_at = source, body, False, None
        return [*replaced, _step(heard, task, Status.RECEIVED, attempt, **_origin(heard.body))]

    def _has(self, heard: Heard, task: _Task) -> list[Event]:
        """Tell that a worker has a task reserved, unless that was heard; its event may still come."""
        if task.received or task.waiting or task.running:
            return []
        task.waiting.append(task.attempt)
        return [_step(heard, task, Status.RECEIVED, task.attempt, **_origin(heard.body))]

    def _started(self, heard: Heard, task: _Task) -> list[Event]:
        if task.unstarted is not None:
            step = _step(heard, task, Status.STARTED, 0)
            (step.nesting, step.attempt), task.unstarted = task.unstarted, None
            return [step]
        attempt = min(task.waiting or [task.current()])
        task.waiting = [item for item in task.waiting if item != attempt]
        task.running = [*task.running[-_MOST_RUNNING:], attempt]
        task.started_at = heard.at
        # Only what workers answer when they are asked tells more here.
        return [_step(heard, task, Status.STARTED, attempt, **(_origin(heard.body) if "name" in heard.body else {}))]

    def _succeeded(self, heard: Heard, task: _Task) -> list[Event]:
        runtime = heard.body.get("runtime")
        seconds = float(runtime) if isinstance(runtime, int | float) and 0 <= runtime < _LONGEST_RUN else None
        result = representations.result(heard.body.get("result"))
        return [_step(heard, task, Status.SUCCESS, task.last(), runtime=seconds, result=result)]

    def _failed(self, heard: Heard, task: _Task) -> list[Event]:
        self._rejected.pop(heard.id, None)
        self._failed_lately[heard.id] = None
        if len(self._failed_lately) > _FAILED_KEPT:
            self._failed_lately.popitem(last=False)
        error = _error(heard.body)
        if error["error_type"] == NOT_REGISTERED and not task.received and error["traceback"] is None:
            # A worker that does not know a task's name tells it only there.
            error["name"] = error["error_message"][:NAME_KEPT]
        return [_step(heard, task, Status.FAILURE, task.last(), started_at=task.started_at, **error)]

    def _retried(self, heard: Heard, task: _Task) -> list[Event]:
        attempt = task.current()
        step = _step(
            heard, task, Status.RETRY, attempt, started_at=task.started_at, not_before=task.retry_at, **_error(heard.body)
        )  # fmt: skip
        task.over(attempt)
        task.started_at = None
        if task.attempt == attempt:
            task.begin(attempt + 1)
        return [step]

    def _revoked(self, heard: Heard, task: _Task) -> list[Event]:
        if heard.body.get("expired"):
            message = "expired"
        elif heard.body.get("terminated"):
            message = f"stopped by signal {str(heard.body.get('signum'))[:20]}"
        else:
            message = "revoked"
        return [_step(heard, task, Status.REVOKED, task.last(), message=message)]

    def _rejects(self, heard: Heard, task: _Task) -> list[Event]:
        attempt = task.current()
        if heard.body.get("requeue"):
            task.over(attempt)
            if attempt == task.attempt:
                task.deliveries, task.put_back = task.deliveries + 1, True
            return [_step(heard, task, Status.QUEUED, attempt, message="rejected: its message goes back to the queue")]
        if heard.id in self._failed_lately:
            # Nothing more comes of it.
            self._tasks.pop(heard.id, None)
        elif len(self._rejected) < self._most:
            error = {"error_type": "Reject", "error_message": "its message was rejected and dropped"}
            self._rejected[heard.id] = _step(heard, task, Status.FAILURE, attempt, **error)
        return []

    def _replaced(self, heard: Heard, task: _Task) -> list[Event]:
        """Tell that the body of a running task has sent another task in its place."""
        step = _step(heard, task, Status.REPLACED, task.current(), message="replaced")
        task.unstarted = (task.nesting, min(task.waiting)) if task.waiting and not task.running else None
        task.nesting, task.running, task.waiting, task.started_at = task.nesting + 1, [], [], None
        task.sent = False
        task.begin(0)
        return [step]


_Rule = Callable[[Translator, Heard, _Task], list[Event]]
_RULES: Final[Mapping[str, _Rule]] = {
    "task-sent": Translator._sent,
    "task-received": Translator._received,
    "task-started": Translator._started,
    "task-succeeded": Translator._succeeded,
    "task-failed": Translator._failed,
    "task-retried": Translator._retried,
    "task-revoked": Translator._revoked,
    "task-rejected": Translator._rejects,
}
_ENDS: Final = frozenset({Status.SUCCESS, Status.FAILURE, Status.REVOKED})
#: Failures that are remembered for a moment.
_FAILED_KEPT: Final = 1000
#: Runs of one task at once that are remembered.
_MOST_RUNNING: Final = 9
#: Seconds of a runtime beyond which it is no runtime.
_LONGEST_RUN: Final = 10 * 365 * 86_400


def heard_at(event: Mapping[str, Any], received: float, oldest: float = OLDEST) -> Heard:
    """Return an event of a task with its time. Raises OddEventError."""
    id_, worker = event.get("uuid"), event.get("hostname")
    if not isinstance(id_, str) or not 1 <= len(id_) <= ID_KEPT:
        raise OddEventError(f"its uuid is no text of 1 to {ID_KEPT:,} characters")
    if not isinstance(worker, str):
        raise OddEventError("its hostname is no text")
    return Heard(id_, time_of(event, received, oldest), worker[:NAME_KEPT], event)


def time_of(event: Mapping[str, Any], received: float, oldest: float = OLDEST) -> float:
    """Return when an event happened, as Unix time: by its own clock, if that can be. Raises OddEventError.

    A timestamp is Unix time in Celery. Should it be local time, its offset from UTC brings it near its arrival.
    """
    at, offset = event.get("timestamp"), event.get("utcoffset")
    if not isinstance(at, int | float) or isinstance(at, bool) or not math.isfinite(at):
        raise OddEventError("its timestamp is no number")
    if abs(at - received) >= oldest and isinstance(offset, int | float) and -24 <= offset <= 24:
        local = at + offset * 3600
        at = local if abs(local - received) < abs(at - received) else at
    return float(at) if 0 <= received - at <= oldest else received


def _attempt(body: Mapping[str, Any]) -> int:
    retries = body.get("retries") or 0
    if type(retries) is not int or not 0 <= retries <= _MOST_ATTEMPTS:
        raise OddEventError("its retries are no count")
    return retries


def _origin(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": _name(body, "name"),
        "args": representations.arguments(body.get("args")),
        "kwargs": representations.keywords(body.get("kwargs")),
        "not_before": moment_of(body.get("eta")),
        "parent_id": _id(body.get("parent_id")),
        # The first task is its own root.
        "root_id": root if (root := _id(body.get("root_id"))) != body.get("uuid") else None,
    }


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and 1 <= len(value) <= ID_KEPT else None


def _error(body: Mapping[str, Any]) -> dict[str, Any]:
    traceback = body.get("traceback")
    error = representations.raised(body.get("exception"), traceback)
    return {"error_type": error.type, "error_message": error.message, "traceback": representations.tail(traceback)}


def _name(body: Mapping[str, Any], member: str) -> str:
    value = body.get(member)
    return value[:NAME_KEPT] if isinstance(value, str) else ""


def moment_of(text: Any) -> float | None:
    """Return a time of Celery's messages as Unix time; None for none, and for what is none."""
    if not isinstance(text, str) or not 10 <= len(text) <= 40:
        return None
    try:
        at = datetime.fromisoformat(text)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < 253_402_300_800 else None


def _step(heard: Heard, task: _Task, status: Status, attempt: int, *, worker: str | None = None, **more: Any) -> Event:
    return Event(
        task_id=heard.id, status=status, at=heard.at, nesting=task.nesting, attempt=attempt, delivery=task.delivery(attempt),
        worker=heard.worker if worker is None else worker, **more,
    )  # fmt: skip
