"""`/api/v1/workers`: list workers, and command them through Celery's remote control."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from django.http import Http404, HttpRequest
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from tasks_app.api.schemas import QUEUE, TaskId
from tasks_app.control import workers as control
from tasks_app.control.workers import MAX_LIMIT, MAX_SLOTS, MAX_STEP, CommandReply
from tasks_app.errors import WorkerUnknownError
from tasks_app.models import Application
from tasks_app.queries import workers
from tasks_app.queries.workers import CurrentTask, WorkerState, WorkerView
from tasks_app.search.parameters import FilterText
from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize, known_caller
from zenith_site.common.openapi import problem_responses
from zenith_site.common.paging import refuse_unknown
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import Status

router = Router(tags=["workers"])

_STATES: Final = " ".join(f"`{state.value}`: {state.sentence}" for state in WorkerState)


class CurrentTaskAnswer(BaseModel):
    """A task that a worker has reserved or is running."""

    task_id: TaskId
    task_type: str
    queue: str
    status: Status
    attempt: int = Field(ge=1)
    started_at: datetime | None

    @classmethod
    def of(cls, task: CurrentTask) -> "CurrentTaskAnswer":
        """Return the response for a task."""
        return cls.model_construct(
            task_id=task.celery_id, task_type=task.name, queue=task.queue, status=task.status, attempt=task.attempt,
            started_at=task.started_at,
        )  # fmt: skip


class Bounds(BaseModel):
    """The smallest and the largest number of slots that a worker scales between."""

    minimum: int
    maximum: int


#: The members that heartbeats call otherwise.
_MEMBERS: Final = {"held": "reserved", "version": "celery_version"}


class WorkerAnswer(BaseModel):
    """A worker, according to its newest heartbeat and the tasks in PostgreSQL."""

    name: str
    application: str = Field(description="The name of its application; `zenith` is Zenith's own.")
    state: WorkerState = Field(description=_STATES)
    heartbeat_at: datetime
    heartbeat_age_seconds: float = Field(ge=0)
    pool: str = Field(description="prefork, solo, thread, …; empty if the worker does not report it.")
    slots: int = Field(description="Tasks that it can run at once.")
    busy: int = Field(description="Tasks that it is running.")
    reserved: int = Field(description="Tasks that it has taken but not started.")
    autoscale: Bounds | None = Field(description="Set if the worker was started with `--autoscale`.")
    queues: list[str]
    withheld_queues: list[str] = Field(description="Paused queues that it will consume again once they are resumed.")
    processed: int | None = Field(description="Tasks that it has taken since it started.")
    pid: int
    celery_version: str
    python_version: str
    memory_bytes: int | None = Field(description="Resident memory of all its processes; shared memory counts once per process.")
    started_at: datetime | None
    uptime_seconds: float | None
    tasks: list[CurrentTaskAnswer] = Field(
        description="Its tasks according to PostgreSQL, which is a moment behind the heartbeat."
    )
    unknown: list[str] = Field(
        description="Members that are 0 or empty because a worker of a watched application has not told them."
    )

    @classmethod
    def of(cls, view: WorkerView) -> "WorkerAnswer":
        """Return the response for a worker."""
        beat = view.beat
        return cls.model_construct(
            name=beat.name, application=view.application, state=view.state,
            heartbeat_at=beat.heartbeat_at, heartbeat_age_seconds=beat.heartbeat_age,
            pool=beat.pool, slots=beat.slots, busy=beat.busy, reserved=max(0, len(beat.held) - beat.busy),
            autoscale=Bounds(minimum=beat.autoscale[0], maximum=beat.autoscale[1]) if beat.autoscale else None,
            queues=list(beat.queues), withheld_queues=list(beat.withheld), processed=beat.processed, pid=beat.pid,
            celery_version=beat.version, python_version=beat.python, memory_bytes=beat.memory_bytes,
            started_at=view.started_at, uptime_seconds=view.uptime_seconds,
            tasks=[CurrentTaskAnswer.of(task) for task in view.tasks],
            unknown=[_MEMBERS.get(name, name) for name in beat.unknown],
        )  # fmt: skip


class WorkerQuery(BaseModel):
    """Whose workers to show."""

    model_config = ConfigDict(extra="forbid")

    application: FilterText = Field(default=NATIVE_NAME, description="Workers of the application with this name.")


def _shows(request: HttpRequest) -> Shows:
    return Shows.of(request.GET.get("application", NATIVE_NAME))


#: For commands, which a worker of the application in the query obeys.
_OPERATES: Final = requires(OPERATE, _shows)


def _application(request: HttpRequest, name: str, query: WorkerQuery) -> str:
    """Return the name of the application whose worker `name` is meant; the audit log names it. Raises WorkerUnknownError."""
    refuse_unknown(request, WorkerQuery)
    if not known_caller(request).sees(query.application):
        raise WorkerUnknownError(name)
    if query.application != NATIVE_NAME:
        audit_details(request, application=query.application)
    return query.application


class ControlAnswer(BaseModel):
    """A worker's reply to a command."""

    worker: str
    answer: Any = Field(description="The reply, as the worker sent it.")
    seconds: float = Field(ge=0, description="How long the reply took.")

    @classmethod
    def of(cls, reply: CommandReply) -> "ControlAnswer":
        """Return the response for a worker's reply."""
        return cls.model_construct(worker=reply.worker, answer=reply.answer, seconds=reply.seconds)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# The control module checks the bounds, for pages and programs alike; here they are documentation.
class SlotsRequest(_Body):
    """The number of slots to add or remove."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"slots": 2}]})

    slots: int = Field(default=1, json_schema_extra={"minimum": 1, "maximum": MAX_STEP})


class AutoscaleRequest(_Body):
    """The smallest and the largest number of slots to scale between."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"minimum": 2, "maximum": 8}]})

    minimum: int = Field(json_schema_extra={"minimum": 1, "maximum": MAX_SLOTS})
    maximum: int = Field(json_schema_extra={"minimum": 1, "maximum": MAX_SLOTS})


class QueueRequest(_Body):
    """The queue to start or to stop consuming."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"queue": "reports"}]})

    queue: str = Field(json_schema_extra=QUEUE)


class TimeLimitRequest(_Body):
    """Time limits of one task, in seconds; null removes a limit."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"task": "analyze_text", "soft": 50, "hard": 60}]})

    task: str = Field(description="The task's name.", min_length=1, max_length=255)
    soft: float | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT})
    hard: float | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT})


class RateLimitRequest(_Body):
    """How often a task may start."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"task": "analyze_text", "rate": "10/m"}]})

    task: str = Field(description="The task's name.", min_length=1, max_length=255)
    rate: str = Field(
        description="Tasks per second, minute or hour; `0` removes the limit.",
        min_length=1,
        max_length=20,
        examples=["10/m"],
    )


class ClearedAnswer(BaseModel):
    """Names of workers that are gone."""

    cleared: list[str] = Field(description="Workers that were removed from the list.")
    holding: list[str] = Field(
        description="Workers that stay listed because their tasks have not been returned to the queues yet."
    )


class ShutdownAnswer(BaseModel):
    """Confirms that a worker was told to shut down; it sends no reply of its own."""

    worker: str
    status: str = "stopping"


@router.get(
    "", response=list[WorkerAnswer], summary="List workers", operation_id="list_workers",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def list_workers(request: HttpRequest, query: Query[WorkerQuery]) -> list[WorkerAnswer]:
    """Return every worker that sent a heartbeat within the last five minutes, by name, with its current tasks.

    These are Zenith's own, or those of another application that you name.
    """
    caller = authorize(request, VIEW, Shows.of(query.application))
    refuse_unknown(request, WorkerQuery)
    application = Application.named(query.application) if caller.sees(query.application) else None
    if application is None:
        raise Http404(f"There is no application {query.application[:50]!r}.")
    return [WorkerAnswer.of(view) for view in workers.workers_of(application)]


@router.delete("", response=ClearedAnswer, summary="Clear lost workers", operation_id="clear_workers", auth=requires(OPERATE))
def clear_workers(request: HttpRequest) -> ClearedAnswer:
    """Remove every worker that has sent no heartbeat for twelve seconds and whose tasks went back to their queues."""
    cleared, holding = control.clear_all(known_caller(request).name)
    return ClearedAnswer(cleared=cleared, holding=holding)


@router.post("/{name:name}/ping", response=ControlAnswer, summary="Ping a worker", operation_id="ping_worker", auth=_OPERATES)
def ping(request: HttpRequest, name: str, query: Query[WorkerQuery]) -> ControlAnswer:
    """Return whether the worker replies, and how fast."""
    return ControlAnswer.of(control.ping(name, _application(request, name, query)))


@router.post("/{name:name}/grow", response=ControlAnswer, summary="Add slots", operation_id="grow_worker", auth=_OPERATES)
def grow(request: HttpRequest, name: str, query: Query[WorkerQuery], body: SlotsRequest | None = None) -> ControlAnswer:
    """Add slots to a worker's pool. Returns 409 if the pool has a fixed size, or scales automatically."""
    return ControlAnswer.of(control.grow(name, (body or SlotsRequest()).slots, _application(request, name, query)))


@router.post("/{name:name}/shrink", response=ControlAnswer, summary="Remove slots", operation_id="shrink_worker", auth=_OPERATES)
def shrink(request: HttpRequest, name: str, query: Query[WorkerQuery], body: SlotsRequest | None = None) -> ControlAnswer:
    """Remove slots from a worker's pool, busy ones after their task ends. Returns 409 if the pool cannot shrink."""
    return ControlAnswer.of(control.shrink(name, (body or SlotsRequest()).slots, _application(request, name, query)))


@router.post(
    "/{name:name}/autoscale",
    response=ControlAnswer,
    summary="Change autoscale bounds",
    operation_id="autoscale_worker",
    auth=_OPERATES,
)
def autoscale(request: HttpRequest, name: str, query: Query[WorkerQuery], body: AutoscaleRequest) -> ControlAnswer:
    """Change the bounds between which a worker scales its pool. Returns 409 if it was started without `--autoscale`."""
    return ControlAnswer.of(control.autoscale(name, body.minimum, body.maximum, _application(request, name, query)))


@router.post(
    "/{name:name}/add-queue",
    response=ControlAnswer,
    summary="Consume a queue",
    operation_id="add_worker_queue",
    auth=_OPERATES,
)
def add_queue(request: HttpRequest, name: str, query: Query[WorkerQuery], body: QueueRequest) -> ControlAnswer:
    """Make a worker consume one more queue, until it restarts."""
    return ControlAnswer.of(control.add_queue(name, body.queue, _application(request, name, query)))


@router.post(
    "/{name:name}/cancel-queue",
    response=ControlAnswer,
    summary="Stop consuming a queue",
    operation_id="cancel_worker_queue",
    auth=_OPERATES,
)
def cancel_queue(request: HttpRequest, name: str, query: Query[WorkerQuery], body: QueueRequest) -> ControlAnswer:
    """Make a worker stop consuming a queue, until it restarts. Returns 409 if it does not consume the queue."""
    return ControlAnswer.of(control.cancel_queue(name, body.queue, _application(request, name, query)))


@router.post(
    "/{name:name}/time-limit",
    response=ControlAnswer,
    summary="Limit a task's time",
    operation_id="limit_worker_time",
    auth=_OPERATES,
)
def limit_time(request: HttpRequest, name: str, query: Query[WorkerQuery], body: TimeLimitRequest) -> ControlAnswer:
    """Set a task's time limits on a worker, until it restarts. Limits in a task's message take precedence."""
    return ControlAnswer.of(control.limit_time(name, body.task, body.soft, body.hard, _application(request, name, query)))


@router.post(
    "/{name:name}/rate-limit",
    response=ControlAnswer,
    summary="Limit a task's rate",
    operation_id="limit_worker_rate",
    auth=_OPERATES,
)
def limit_rate(request: HttpRequest, name: str, query: Query[WorkerQuery], body: RateLimitRequest) -> ControlAnswer:
    """Limit how often a worker starts a task, until it restarts."""
    return ControlAnswer.of(control.limit_rate(name, body.task, body.rate, _application(request, name, query)))


@router.post("/{name:name}/drain", response=ControlAnswer, summary="Drain a worker", operation_id="drain_worker", auth=_OPERATES)
def drain(request: HttpRequest, name: str, query: Query[WorkerQuery]) -> ControlAnswer:
    """Make a worker finish its tasks and take no more. It is `draining`, then `drained`, and keeps running."""
    return ControlAnswer.of(control.drain(name, _application(request, name, query)))


@router.post(
    "/{name:name}/restart-pool",
    response=ControlAnswer,
    summary="Restart the pool",
    operation_id="restart_worker_pool",
    auth=_OPERATES,
)
def restart_pool(request: HttpRequest, name: str, query: Query[WorkerQuery]) -> ControlAnswer:
    """Replace a worker's processes, each after its task ends. Returns 409 if the pool is not prefork."""
    return ControlAnswer.of(control.restart_pool(name, _application(request, name, query)))


@router.post(
    "/{name:name}/shut-down",
    response=ShutdownAnswer,
    summary="Shut down a worker",
    operation_id="shut_down_worker",
    auth=_OPERATES,
)
def shut_down(request: HttpRequest, name: str, query: Query[WorkerQuery]) -> ShutdownAnswer:
    """Stop a worker as SIGTERM does: it finishes its tasks or returns them, and disappears from the list."""
    control.shut_down(name, _application(request, name, query))
    return ShutdownAnswer(worker=name)


# A name may contain slashes, so these routes come after the more specific ones.
@router.delete(
    "/{name:name}",
    response=ClearedAnswer,
    summary="Clear a worker that is gone",
    operation_id="clear_worker",
    auth=requires(OPERATE),
)
def clear_worker(request: HttpRequest, name: str) -> ClearedAnswer:
    """Remove a worker from the list. Returns 409 if it sent a heartbeat within twelve seconds, or still holds tasks."""
    control.clear(name, known_caller(request).name)
    return ClearedAnswer(cleared=[name], holding=[])


@router.get("/{name:name}", response=WorkerAnswer, summary="Show one worker", operation_id="show_worker")
def show_worker(request: HttpRequest, name: str, query: Query[WorkerQuery]) -> WorkerAnswer:
    """Return the worker with this name, such as `celery@host`: Zenith's own, or that of another application that you name."""
    caller = authorize(request, VIEW, Shows.of(query.application))
    refuse_unknown(request, WorkerQuery)
    view = workers.find(name, query.application) if caller.sees(query.application) else None
    if view is None:
        raise WorkerUnknownError(name)
    return WorkerAnswer.of(view)
