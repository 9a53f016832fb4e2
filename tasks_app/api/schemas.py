"""What the task API takes and gives; the shapes are fixed by the contract."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from django.urls import reverse
from django.utils.dateparse import parse_datetime
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tasks_app.dispatch.create import MAX_COUNT, MAX_PRIORITY, MAX_QUEUE, MAX_RETRIES, MAX_TIME_LIMIT, Dispatch, Dispatched
from tasks_app.models import Task
from tasks_app.queries.tasks import TaskWithResult
from zenith_worker.wire.ids import key_meant
from zenith_worker.wire.states import Status


def read_id(value: Any) -> Any:
    """Read a task's id, which may be any text, as the key of its row."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be the id of a task")
    return key_meant(value)


def _moment(value: Any) -> Any:
    """Read a time with its zone, in UTC: PostgreSQL keeps years that Python cannot read back."""
    if value is None:
        return None
    moment = parse_datetime(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2030-01-31T12:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999") from None


#: A time with its zone, as a strict model reads it.
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
#: What the schema says of a queue's name; dispatch/create.py checks it.
QUEUE: dict[str, Any] = {"minLength": 1, "maxLength": MAX_QUEUE, "pattern": "^[ -~]+$"}


_SECONDS: dict[str, Any] = {"minimum": 1, "maximum": MAX_TIME_LIMIT}


class TriggerRequest(BaseModel):
    """What to run; without a body, ten `analyze_text` tasks on sample texts."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"task": "analyze_text", "data": ["First.", "Second."]}]},
    )

    task: str = Field(default="analyze_text", description="The task's name.")
    # Its bounds are dispatch's to check, for every caller alike; here they are documentation.
    count: int | None = Field(
        default=None,
        description="How many. By default as many as `data` has items, else one.",
        json_schema_extra={"minimum": 1, "maximum": MAX_COUNT},
    )
    data: Any = Field(default=None, description="The task's first argument; a list gives each task its own.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="The task's named arguments.")
    queue: str | None = Field(default=None, description="By default where Celery's routing sends it.", json_schema_extra=QUEUE)
    priority: int | None = Field(default=None, json_schema_extra={"minimum": 0, "maximum": MAX_PRIORITY})
    not_before: Moment = Field(default=None, description="Held back until then.")
    max_retries: int | None = Field(
        default=None, description="By default the task's own number.", json_schema_extra={"minimum": 0, "maximum": MAX_RETRIES}
    )

    time_limit: int | None = Field(
        default=None, description="Seconds after which its process is killed.", json_schema_extra=_SECONDS
    )
    soft_time_limit: int | None = Field(
        default=None, description="Seconds after which SoftTimeLimitExceeded is raised in it.", json_schema_extra=_SECONDS
    )
    expires_at: Moment = Field(default=None, description="Not started after this.")

    def to_dispatch(self) -> Dispatch:
        """Return this as what dispatch() takes."""
        return Dispatch(**{name: getattr(self, name) for name in type(self).model_fields})


class TriggerAnswer(BaseModel):
    """What was dispatched."""

    status: str = "Success"
    triggered: int
    ids: list[UUID]
    batch_id: UUID

    @classmethod
    def of(cls, done: Dispatched) -> "TriggerAnswer":
        """Return the answer for a dispatch."""
        return cls(triggered=len(done.ids), ids=done.ids, batch_id=done.batch_id)


#: What the schema says of a task's id.
TaskId = Annotated[
    str, Field(description="Celery's id: a UUID of every task that Zenith dispatches; other programs may take any text.")
]


#: Members of an answer whose values are longer than what it holds, each with where the whole value is.
Cut = Annotated[
    dict[str, str],
    Field(
        default_factory=dict,
        exclude_if=lambda cut: not cut,
        description="Members of which this holds the beginning only (of tracebacks the end), each with the path of the whole"
        " value. Left out where nothing was cut.",
        examples=[{"data": "/api/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057/values/args"}],
    ),
]


def cut_of(task: Task, cut: Mapping[str, str]) -> dict[str, str]:
    """Return the paths of whole values, by the members that were cut; `cut` has their names in queries/values.py."""
    return {member: reverse("api:show_value", args=[task.celery_id, value]) for member, value in sorted(cut.items())}


class TaskAnswer(BaseModel):
    """One task."""

    task_id: TaskId
    task_type: str = Field(description="The task's name.")
    status: Status = Field(description=" ".join(f"`{status}`: {status.sentence}" for status in Status))
    data: Any = Field(description="The task's first argument.")
    result: Any = Field(description="What it returned; null until it has.")
    error: str | None = Field(description="The newest attempt's exception as `Type: message`.")
    attempts: int = Field(description="How often it was started.")
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    processing_time: float | None = Field(description="Seconds in the task's body.")
    cut: Cut

    @classmethod
    def of(cls, found: TaskWithResult) -> Self:
        """Return the answer for a task."""
        return cls.model_construct(**task_members(found))


def task_members(found: TaskWithResult) -> dict[str, Any]:
    """Return the values of a TaskAnswer. They come from the database: none is checked again."""
    task = found.task
    cut = {member: value for member, value in found.cut.items() if member in TaskAnswer.model_fields}
    return {
        "task_id": task.celery_id, "task_type": task.name, "status": Status(task.status), "data": found.data,
        "result": found.result, "error": found.error, "attempts": found.attempts, "worker": task.worker or None,
        "created_at": task.created_at, "started_at": task.started_at, "finished_at": task.finished_at,
        "processing_time": task.runtime, "cut": cut_of(task, cut),
    }  # fmt: skip
