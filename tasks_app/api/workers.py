"""Workers for programs: what they are and do, and Celery's remote control."""

from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest
from ninja import Router
from pydantic import BaseModel, ConfigDict, Field

from tasks_app.api.schemas import TaskId
from tasks_app.control import workers as control
from tasks_app.control.workers import MAX_LIMIT, MAX_SLOTS, MAX_STEP, CommandReply
from tasks_app.errors import WorkerUnknownError
from tasks_app.queries import workers
from tasks_app.queries.workers import CurrentTask, WorkerState, WorkerView
from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, authorize, known_caller
from zenith_worker.wire.states import Status

router = Router(tags=["workers"])

_STATES: Final = " ".join(f"`{state.value}`: {state.sentence}" for state in WorkerState)


class CurrentTaskAnswer(BaseModel):
    """A task that a worker has reserved or runs."""

    task_id: TaskId
    task_type: str
    queue: str
    status: Status
    attempt: int = Field(ge=1)
    started_at: datetime | None

    @classmethod
    def of(cls, task: CurrentTask) -> "CurrentTaskAnswer":
        """Return the answer for a task."""
        return cls.model_construct(
            task_id=task.celery_id, task_type=task.name, queue=task.queue, status=task.status, attempt=task.attempt,
            started_at=task.started_at,
        )  # fmt: skip


class Bounds(BaseModel):
    """Between how many slots a worker scales by itself."""

    minimum: int
    maximum: int


class WorkerAnswer(BaseModel):
    """One worker, as its newest heartbeat and the tasks' rows tell."""

    name: str
    state: WorkerState = Field(description=_STATES)
    heartbeat_at: datetime
    heartbeat_age_seconds: float = Field(ge=0)
    pool: str = Field(description="prefork, solo, thread, …; empty where it does not say.")
    slots: int = Field(description="Tasks that it can run at once.")
    busy: int = Field(description="Tasks that it runs.")
    reserved: int = Field(description="Tasks that it has taken and does not run yet.")
    autoscale: Bounds | None = Field(description="Set where it was started with `--autoscale`.")
    queues: list[str]
    withheld_queues: list[str] = Field(description="Queues that it will consume again once they are not paused any more.")
    processed: int | None = Field(description="Tasks that it has taken since it started.")
    pid: int
    celery_version: str
    python_version: str
    memory_bytes: int | None = Field(description="Resident memory of all its processes; what they share counts for each.")
    started_at: datetime | None
    uptime_seconds: float | None
    tasks: list[CurrentTaskAnswer] = Field(description="What PostgreSQL knows it to have; a moment behind the figures above.")

    @classmethod
    def of(cls, view: WorkerView) -> "WorkerAnswer":
        """Return the answer for a worker."""
        beat = view.beat
        return cls.model_construct(
            name=beat.name, state=view.state, heartbeat_at=beat.heartbeat_at, heartbeat_age_seconds=beat.heartbeat_age,
            pool=beat.pool, slots=beat.slots, busy=beat.busy, reserved=max(0, len(beat.held) - beat.busy),
            autoscale=Bounds(minimum=beat.autoscale[0], maximum=beat.autoscale[1]) if beat.autoscale else None,
            queues=list(beat.queues), withheld_queues=list(beat.withheld), processed=beat.processed, pid=beat.pid,
            celery_version=beat.version, python_version=beat.python, memory_bytes=beat.memory_bytes,
            started_at=view.started_at, uptime_seconds=view.uptime_seconds,
            tasks=[CurrentTaskAnswer.of(task) for task in view.tasks],
        )  # fmt: skip


class ControlAnswer(BaseModel):
    """What a worker answered."""

    worker: str
    answer: Any = Field(description="In its own words.")
    seconds: float = Field(ge=0, description="How long it took.")

    @classmethod
    def of(cls, told: CommandReply) -> "ControlAnswer":
        """Return the answer for a worker's."""
        return cls.model_construct(worker=told.worker, answer=told.answer, seconds=told.seconds)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# The bounds are the control module's to check, for pages and programs alike; here they are documentation.
class SlotsRequest(_Body):
    """How many slots."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"slots": 2}]})

    slots: int = Field(default=1, json_schema_extra={"minimum": 1, "maximum": MAX_STEP})


class AutoscaleRequest(_Body):
    """Between how many slots to scale."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"minimum": 2, "maximum": 8}]})

    minimum: int = Field(json_schema_extra={"minimum": 1, "maximum": MAX_SLOTS})
    maximum: int = Field(json_schema_extra={"minimum": 1, "maximum": MAX_SLOTS})


class QueueRequest(_Body):
    """Which queue."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"queue": "reports"}]})

    queue: str = Field(json_schema_extra={"minLength": 1, "maxLength": 100, "pattern": "^[ -~]+$"})


class TimeLimitRequest(_Body):
    """Time limits of one task, in seconds; null lifts one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"task": "analyze_text", "soft": 50, "hard": 60}]})

    task: str = Field(description="The task's name.", min_length=1, max_length=255)
    soft: float | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT})
    hard: float | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT})


class RateLimitRequest(_Body):
    """How often one task may be started."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"task": "analyze_text", "rate": "10/m"}]})

    task: str = Field(description="The task's name.", min_length=1, max_length=255)
    rate: str = Field(
        description="Tasks per second, minute or hour; `0` lifts the limit.",
        min_length=1,
        max_length=20,
        examples=["10/m"],
    )


class ClearedAnswer(BaseModel):
    """Workers that were gone, by name."""

    cleared: list[str] = Field(description="Those that were taken off the list.")
    holding: list[str] = Field(description="Those that stay: the tasks that they had taken were not given back yet.")


class ShutdownAnswer(BaseModel):
    """What was asked of a worker that cannot answer any more."""

    worker: str
    status: str = "stopping"


@router.get("", response=list[WorkerAnswer], summary="List workers", operation_id="list_workers")
def list_workers(request: HttpRequest) -> list[WorkerAnswer]:
    """Return every worker heard of within five minutes, by name, with what it does now."""
    authorize(request, VIEW)
    return [WorkerAnswer.of(view) for view in workers.workers()]


@router.delete(
    "", response=ClearedAnswer, summary="Clear workers that are gone", operation_id="clear_workers", auth=requires(OPERATE)
)
def clear_workers(request: HttpRequest) -> ClearedAnswer:
    """Take every worker off the list that was not heard of for twelve seconds and whose tasks were given to others."""
    cleared, holding = control.clear_all(known_caller(request).name)
    return ClearedAnswer(cleared=cleared, holding=holding)


@router.post(
    "/{name:name}/ping", response=ControlAnswer, summary="Ping a worker", operation_id="ping_worker", auth=requires(OPERATE)
)
def ping(request: HttpRequest, name: str) -> ControlAnswer:
    """Ask whether it answers, and how fast."""
    return ControlAnswer.of(control.ping(name))


@router.post("/{name:name}/grow", response=ControlAnswer, summary="Add slots", operation_id="grow_worker", auth=requires(OPERATE))
def grow(request: HttpRequest, name: str, body: SlotsRequest | None = None) -> ControlAnswer:
    """Add slots to a worker's pool; 409 where its pool has a fixed size, or scales by itself."""
    return ControlAnswer.of(control.grow(name, (body or SlotsRequest()).slots))


@router.post(
    "/{name:name}/shrink", response=ControlAnswer, summary="Take slots away", operation_id="shrink_worker", auth=requires(OPERATE)
)
def shrink(request: HttpRequest, name: str, body: SlotsRequest | None = None) -> ControlAnswer:
    """Take slots from a worker's pool, busy ones once their task is over; 409 where its pool cannot."""
    return ControlAnswer.of(control.shrink(name, (body or SlotsRequest()).slots))


@router.post(
    "/{name:name}/autoscale",
    response=ControlAnswer,
    summary="Change the bounds",
    operation_id="autoscale_worker",
    auth=requires(OPERATE),
)
def autoscale(request: HttpRequest, name: str, body: AutoscaleRequest) -> ControlAnswer:
    """Change between how many slots a worker scales by itself; 409 where it was started without `--autoscale`."""
    return ControlAnswer.of(control.autoscale(name, body.minimum, body.maximum))


@router.post(
    "/{name:name}/add-queue",
    response=ControlAnswer,
    summary="Consume a queue",
    operation_id="add_worker_queue",
    auth=requires(OPERATE),
)
def add_queue(request: HttpRequest, name: str, body: QueueRequest) -> ControlAnswer:
    """Have a worker take messages from one more queue, until it is started anew."""
    return ControlAnswer.of(control.add_queue(name, body.queue))


@router.post(
    "/{name:name}/cancel-queue",
    response=ControlAnswer,
    summary="Stop consuming a queue",
    operation_id="cancel_worker_queue",
    auth=requires(OPERATE),
)
def cancel_queue(request: HttpRequest, name: str, body: QueueRequest) -> ControlAnswer:
    """Have a worker take no more messages from a queue, until it is started anew; 409 where it does not."""
    return ControlAnswer.of(control.cancel_queue(name, body.queue))


@router.post(
    "/{name:name}/time-limit",
    response=ControlAnswer,
    summary="Limit a task's time",
    operation_id="limit_worker_time",
    auth=requires(OPERATE),
)
def limit_time(request: HttpRequest, name: str, body: TimeLimitRequest) -> ControlAnswer:
    """Set a task's time limits on a worker, until it is started anew. Limits that a message brings along count more."""
    return ControlAnswer.of(control.limit_time(name, body.task, body.soft, body.hard))


@router.post(
    "/{name:name}/rate-limit",
    response=ControlAnswer,
    summary="Limit a task's rate",
    operation_id="limit_worker_rate",
    auth=requires(OPERATE),
)
def limit_rate(request: HttpRequest, name: str, body: RateLimitRequest) -> ControlAnswer:
    """Set how often a worker starts a task, until it is started anew."""
    return ControlAnswer.of(control.limit_rate(name, body.task, body.rate))


@router.post(
    "/{name:name}/drain", response=ControlAnswer, summary="Drain a worker", operation_id="drain_worker", auth=requires(OPERATE)
)
def drain(request: HttpRequest, name: str) -> ControlAnswer:
    """Have a worker take nothing more and finish what it has: it is `draining`, then `drained`. It goes on running."""
    return ControlAnswer.of(control.drain(name))


@router.post(
    "/{name:name}/restart-pool",
    response=ControlAnswer,
    summary="Restart the pool",
    operation_id="restart_worker_pool",
    auth=requires(OPERATE),
)
def restart_pool(request: HttpRequest, name: str) -> ControlAnswer:
    """Replace a worker's processes, each once its task is over; 409 where its pool is not prefork."""
    return ControlAnswer.of(control.restart_pool(name))


@router.post(
    "/{name:name}/shut-down",
    response=ShutdownAnswer,
    summary="Shut a worker down",
    operation_id="shut_down_worker",
    auth=requires(OPERATE),
)
def shut_down(request: HttpRequest, name: str) -> ShutdownAnswer:
    """Have a worker end as by SIGTERM: it finishes its tasks, or hands them back. It is gone from the list then."""
    control.shut_down(name)
    return ShutdownAnswer(worker=name)


# A name takes slashes, so these stand behind the routes that go on after it.
@router.delete(
    "/{name:name}",
    response=ClearedAnswer,
    summary="Clear a worker that is gone",
    operation_id="clear_worker",
    auth=requires(OPERATE),
)
def clear_worker(request: HttpRequest, name: str) -> ClearedAnswer:
    """Take one off the list; 409 where it was heard of within twelve seconds, or its tasks were not given back yet."""
    control.clear(name, known_caller(request).name)
    return ClearedAnswer(cleared=[name], holding=[])


@router.get("/{name:name}", response=WorkerAnswer, summary="Show one worker", operation_id="show_worker")
def show_worker(request: HttpRequest, name: str) -> WorkerAnswer:
    """Return the worker of this name, such as `celery@host`."""
    authorize(request, VIEW)
    found = workers.find(name)
    if found is None:
        raise WorkerUnknownError(name)
    return WorkerAnswer.of(found)
