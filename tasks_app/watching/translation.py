"""From Celery's events to the steps of tasks: a pure rule with a bounded memory of the newest ids.

Celery tells the attempt only when a task is sent or received (`retries`), so what follows belongs to a run that was received at
the same worker and has not ended (runs.py). A worker reports a task's steps in their order, but the next attempt may be received,
there or elsewhere, before the last one is reported as retried.

- A task that is received again in the same attempt is another delivery of its message, or, if its name or its arguments differ,
  what replaced it (`Task.replace`): of a replacement Celery tells nothing else.
- Tasks seen from the middle on are looked up in PostgreSQL, which tells the attempt that an earlier observer saw.
- An event that is told twice gives the same step, which is recorded once.

Whatever is not as Celery writes it is an `OddEventError`; everything is from strangers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeGuard

from tasks_app.watching import representations
from tasks_app.watching.runs import Known, Run, TaskRuns, runs_of
from zenith_worker.wire.client import is_text
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

#: Tasks that are remembered: the newest that have not ended. Each takes some 450 bytes.
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


#: A member of what workers say when they are asked, which has the form of an event: when that was, as Unix time. It tells of no
#: delivery of its own.
ASKED: Final = "zenith_asked"


class Heard(NamedTuple):
    """A valid event: its own members, and the time that counts."""

    id: str
    at: float
    worker: str
    pid: int | None
    body: Mapping[str, Any]


#: Returns what is recorded of tasks, by id.
LookUp = Callable[[Sequence[str]], Mapping[str, Known]]


class Translator:
    """Turns the events of one application into steps of its tasks. Not safe for threads.

    Attributes:
        listens_since: since when all events are heard, as Unix time.
    """

    def __init__(
        self, look_up: LookUp = lambda _: {}, *, most: int = REMEMBERED, open_tasks: Mapping[str, Known] | None = None
    ) -> None:  # fmt: skip
        self._look_up, self._most = look_up, most
        self.listens_since = 0.0
        self._tasks: OrderedDict[str, TaskRuns] = OrderedDict()
        for id_, known in (open_tasks or {}).items():
            self._remember(id_, runs_of(known))
        # The newest that have ended.
        self._ended: OrderedDict[str, TaskRuns] = OrderedDict()
        # Rejected for good: Celery may still tell why.
        self._rejected: dict[str, Event] = {}
        # The newest that failed: Celery 5.7 tells of a rejection for good only after the failure.
        self._failed_lately: OrderedDict[str, None] = OrderedDict()

    def look_up(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Look up the tasks that are seen from the middle on, so that their steps belong to the right attempt.

        Those whose first event tells its attempt are not looked up.
        """
        first: dict[str, Mapping[str, Any]] = {}
        for event in events:
            id_ = event.get("uuid")
            if isinstance(id_, str) and 1 <= len(id_) <= ID_KEPT and event.get("type") in _RULES and not self.knows(id_):
                first.setdefault(id_, event)
        unknown = sorted(id_ for id_, event in first.items() if "retries" not in event)
        for id_, known in self._look_up(unknown).items() if unknown else ():
            # Another observer may have heard the same a moment before.
            self._remember(id_, runs_of(known, is_retried=first[id_]["type"] != "task-retried"))

    def steps(self, event: Mapping[str, Any], received: float, oldest: float = OLDEST) -> list[Event]:
        """Return the steps that an event tells, none for one that tells none. Raises OddEventError.

        `received`: when it arrived, as Unix time; `oldest`: how many seconds before that it may have happened.
        """
        rule = _RULES.get(event.get("type") or "")
        if rule is None:
            return []
        heard = heard_at(event, received, oldest)
        task = self._tasks.get(heard.id) or self._ended.get(heard.id)
        if task is None:
            task = self._remember(heard.id, TaskRuns())
        elif heard.id in self._tasks:
            self._tasks.move_to_end(heard.id)
        steps = rule(self, heard, task)
        if steps and steps[-1].status in _ENDS:
            self._end(heard.id, task)
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
        return id_ in self._tasks or id_ in self._ended

    def runs_at(self, id_: str, worker: str) -> bool:
        """Whether a task is known to have started at a worker."""
        task = self._tasks.get(id_) or self._ended.get(id_)
        return task is not None and task.runs_at(worker)

    def _end(self, id_: str, task: TaskRuns) -> None:
        """Keep a task that has ended for a while: workers may still tell of other runs of it."""
        self._tasks.pop(id_, None)
        self._ended[id_] = task
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)

    def _remember(self, id_: str, task: TaskRuns) -> TaskRuns:
        self._tasks[id_] = task
        if len(self._tasks) > self._most:
            self._tasks.popitem(last=False)
        return task

    # --- One rule for each type of event ---

    def _sent(self, heard: Heard, task: TaskRuns) -> list[Event]:
        attempt = _attempt(heard.body)
        if attempt:
            # Of a retry its worker tells as well; only when it is due is told here.
            task.retry_at = moment_of(heard.body.get("eta"))
            return []
        # A sender publishes the task and then the event, which a quick worker's events may overtake.
        has_started = any(run.started_at is not None for run in task.runs)
        replaced = self._replaced(heard, task) if has_started and task.sent and heard.id not in self._ended else []
        task.sent = True
        queue, first = _name(heard.body, "queue"), Run(task.nesting, 0, 0)
        return [*replaced, _step(heard, first, Status.QUEUED, queue=queue, worker="", **_origin(heard.body))]

    def _received(self, heard: Heard, task: TaskRuns) -> list[Event]:
        if ASKED in heard.body:
            return self._has(heard, task)
        attempt, name = _attempt(heard.body), _name(heard.body, "name")
        body = hash((name, str(heard.body.get("args")), str(heard.body.get("kwargs"))))
        origin, replaced = _origin(heard.body), list[Event]()
        # Of the attempt before this one, the worker may tell later that it is tried again; of those before, that was not heard.
        task.forget_before(attempt - 1, heard.worker, heard.pid, self.listens_since)
        run = task.told_before(attempt, heard.worker, heard.pid, heard.at)
        if run is None:
            if attempt > task.attempt:
                task.begin(attempt)
            elif attempt == task.attempt and task.received and not task.put_back:
                if task.is_other(body, name) and heard.id not in self._ended:
                    replaced = self._replaced(heard, task)
                    task.begin(attempt)
                else:
                    task.deliveries += 1
            run = task.receive(attempt, heard.worker, heard.pid, heard.at, origin["not_before"])
        if attempt == task.attempt:
            task.body, task.name, task.retry_at = body, name, None
        return [*replaced, _step(heard, run, Status.RECEIVED, **origin)]

    def _has(self, heard: Heard, task: TaskRuns) -> list[Event]:
        """Tell that a worker has a task reserved, unless that was heard; its event may still come."""
        if task.received or task.runs:
            return []
        run = task.add(heard.worker, None)
        run.asked = True
        return [_step(heard, run, Status.RECEIVED, **_origin(heard.body))]

    def _started(self, heard: Heard, task: TaskRuns) -> list[Event]:
        run = task.started_in(heard.worker, heard.pid, heard.at, asked=ASKED in heard.body)
        # Only what workers answer when they are asked tells more here.
        origin = _origin(heard.body) if "name" in heard.body else {}
        return [] if run is None else [_step(heard, run, Status.STARTED, **origin)]

    def _succeeded(self, heard: Heard, task: TaskRuns) -> list[Event]:
        runtime = heard.body.get("runtime")
        seconds = float(runtime) if isinstance(runtime, int | float) and 0 <= runtime < _LONGEST_RUN else None
        result = representations.result(heard.body.get("result"))
        return [_step(heard, task.last_of(heard.worker, heard.pid), Status.SUCCESS, runtime=seconds, result=result)]

    def _failed(self, heard: Heard, task: TaskRuns) -> list[Event]:
        self._rejected.pop(heard.id, None)
        self._failed_lately[heard.id] = None
        if len(self._failed_lately) > _FAILED_KEPT:
            self._failed_lately.popitem(last=False)
        error = _error(heard.body)
        if error["error_type"] == NOT_REGISTERED and not task.received and error["traceback"] is None:
            # A worker that does not know a task's name tells it only there.
            error["name"] = error["error_message"][:NAME_KEPT]
        run = task.last_of(heard.worker, heard.pid)
        return [_step(heard, run, Status.FAILURE, started_at=run.started_at, **error)]

    def _retried(self, heard: Heard, task: TaskRuns) -> list[Event]:
        run = task.retried_in(heard.worker, heard.pid)
        due, error = task.retry_at, _error(heard.body)
        task.over(run)
        if task.attempt == run.attempt:
            task.begin(run.attempt + 1)
        task.over_before = max(task.over_before, run.attempt + 1)
        return [_step(heard, run, Status.RETRY, started_at=run.started_at, not_before=due, **error)]

    def _revoked(self, heard: Heard, task: TaskRuns) -> list[Event]:
        if heard.body.get("expired"):
            message = "expired"
        elif heard.body.get("terminated"):
            message = f"stopped by signal {str(heard.body.get('signum'))[:20]}"
        else:
            message = "revoked"
        return [_step(heard, task.last_of(heard.worker, heard.pid), Status.REVOKED, message=message)]

    def _rejects(self, heard: Heard, task: TaskRuns) -> list[Event]:
        run = task.first_of(heard.worker, heard.pid)
        if heard.body.get("requeue"):
            task.over(run)
            if task.is_newest(run):
                task.deliveries, task.put_back = task.deliveries + 1, True
            next_ = Run(run.nesting, run.attempt, run.delivery + 1)
            return [_step(heard, next_, Status.QUEUED, message="rejected: its message goes back to the queue")]
        if heard.id in self._failed_lately:
            # Nothing more comes of it.
            self._tasks.pop(heard.id, None)
        elif len(self._rejected) < self._most:
            error = {"error_type": "Reject", "error_message": "its message was rejected and dropped"}
            self._rejected[heard.id] = _step(heard, run, Status.FAILURE, **error)
        return []

    def _replaced(self, heard: Heard, task: TaskRuns) -> list[Event]:
        """Tell that the body of a running task has sent another task in its place."""
        return [_step(heard, task.replaced(), Status.REPLACED, message="replaced")]


_Rule = Callable[[Translator, Heard, TaskRuns], list[Event]]
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
#: Tasks that have ended that are remembered, and failures that are for a moment.
_ENDED_KEPT: Final = 10_000
_FAILED_KEPT: Final = 1000
#: Numbers beyond this are no times; NaN is not below it either.
_HUGEST: Final = 1e308
#: Seconds of a runtime beyond which it is no runtime.
_LONGEST_RUN: Final = 10 * 365 * 86_400


def heard_at(event: Mapping[str, Any], received: float, oldest: float = OLDEST) -> Heard:
    """Return an event of a task with its time. Raises OddEventError."""
    id_, worker = event.get("uuid"), event.get("hostname")
    if not isinstance(id_, str) or not 1 <= len(id_) <= ID_KEPT:
        raise OddEventError(f"its uuid is no text of 1 to {ID_KEPT:,} characters")
    if not is_name(worker):
        raise OddEventError("its hostname is no name")
    pid = event.get("pid")
    return Heard(id_, time_of(event, received, oldest), worker, pid if type(pid) is int else None, event)


def is_name(value: Any) -> TypeGuard[str]:
    """Whether a value can be a worker's name: 1 to 255 characters that PostgreSQL and Redis can hold."""
    return isinstance(value, str) and 1 <= len(value) <= NAME_KEPT and _is_storable(value)


@lru_cache(maxsize=1000)
def _is_storable(name: str) -> bool:
    return "\x00" not in name and is_text(name)


def time_of(event: Mapping[str, Any], received: float, oldest: float = OLDEST) -> float:
    """Return when an event happened, as Unix time: by its own clock, if that can be. Raises OddEventError.

    A timestamp is Unix time in Celery. Should it be local time, its offset from UTC brings it near its arrival.
    """
    at, offset = event.get("timestamp"), event.get("utcoffset")
    if not isinstance(at, int | float) or isinstance(at, bool) or not -_HUGEST < at < _HUGEST:
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


def _step(heard: Heard, run: Run, status: Status, *, worker: str | None = None, **more: Any) -> Event:
    return Event(
        task_id=heard.id, status=status, at=heard.at, nesting=run.nesting, attempt=run.attempt, delivery=run.delivery,
        worker=heard.worker if worker is None else worker, **more,
    )  # fmt: skip
