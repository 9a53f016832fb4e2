"""Requests and responses of the original task paths; the contract fixes their shapes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from django.urls import reverse
from django.utils.dateparse import parse_datetime
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tasks_app.dispatch.create import MAX_COUNT, MAX_PRIORITY, MAX_RETRIES, MAX_TIME_LIMIT, Dispatch, Dispatched
from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries.tasks import TaskWithResult
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.ids import key_meant
from zenith_worker.wire.queue_names import MAX_NAME
from zenith_worker.wire.states import Status


def read_id(value: Any) -> Any:
    """Return the primary key for a task's id, which may be any text."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be the id of a task")
    return key_meant(value)


def _require_id(value: Any) -> Any:
    read_id(value)
    return value


#: A task's id in a body: Celery's, which may be any text, or the row's key.
GivenId = Annotated[str, Field(min_length=1), BeforeValidator(_require_id)]


def _moment(value: Any) -> Any:
    """Return a time with its zone, in UTC: PostgreSQL stores years that Python cannot read back."""
    if value is None:
        return None
    moment = parse_datetime(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2030-01-31T12:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999") from None


#: A time with its zone, for strict models.
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
#: The documented bounds of a queue's name; `why_malformed` checks them.
QUEUE: dict[str, Any] = {"minLength": 1, "maxLength": MAX_NAME, "pattern": "^[ -~]+$"}


_SECONDS: dict[str, Any] = {"minimum": 1, "maximum": MAX_TIME_LIMIT}


class TriggerRequest(BaseModel):
    """The tasks to run; without a body, ten `analyze_text` tasks on sample texts."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"task": "analyze_text", "data": ["First.", "Second."]}]},
    )

    task: str = Field(default="analyze_text", description="The task's name.")
    # Left out of the digest of a request with an Idempotency-Key, which then is the same as before there were other applications.
    application: str = Field(
        default=NATIVE_NAME,
        exclude_if=lambda name: name == NATIVE_NAME,
        description="The name of the application that runs the task; `zenith` is Zenith's own.",
    )
    # dispatch() checks the bounds, for every caller alike; here they are documentation.
    count: int | None = Field(
        default=None,
        description="The number of tasks; defaults to the number of items in `data` if it is a list, else to one.",
        json_schema_extra={"minimum": 1, "maximum": MAX_COUNT},
    )
    data: Any = Field(default=None, description="The task's first argument; a list gives each task its own.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="The task's keyword arguments.")
    queue: str | None = Field(
        default=None, description="The queue to send to; defaults to the application's own routing.", json_schema_extra=QUEUE
    )
    priority: int | None = Field(default=None, json_schema_extra={"minimum": 0, "maximum": MAX_PRIORITY})
    not_before: Moment = Field(default=None, description="Hold the tasks back until this time.")
    max_retries: int | None = Field(
        default=None,
        description="The maximum number of retries; defaults to the task's own. Other applications decide it themselves, unless"
        " all of their workers online have the guard `retries`.",
        json_schema_extra={"minimum": 0, "maximum": MAX_RETRIES},
    )

    time_limit: int | None = Field(
        default=None, description="Kill the task's process after this many seconds.", json_schema_extra=_SECONDS
    )
    soft_time_limit: int | None = Field(
        default=None, description="Raise SoftTimeLimitExceeded in the task after this many seconds.", json_schema_extra=_SECONDS
    )
    expires_at: Moment = Field(default=None, description="Do not start the tasks after this time.")

    def to_dispatch(self) -> Dispatch:
        """Return this as the request that dispatch() takes."""
        return Dispatch(**{name: getattr(self, name) for name in type(self).model_fields})


class TriggerAnswer(BaseModel):
    """The batch and the tasks that were dispatched."""

    status: str = "Success"
    triggered: int
    ids: list[UUID]
    batch_id: UUID

    @classmethod
    def of(cls, batch: Dispatched) -> "TriggerAnswer":
        """Return the response for a dispatch."""
        return cls(triggered=len(batch.ids), ids=batch.celery_ids, batch_id=batch.batch_id)


#: A task's id as the schema documents it.
TaskId = Annotated[
    str, Field(description="Celery's task id. For tasks that Zenith dispatches it is a UUID; other programs may use any text.")
]


#: The members of a response whose values are cut, each with the path of the whole value.
Cut = Annotated[
    dict[str, str],
    Field(
        default_factory=dict,
        exclude_if=lambda cut: not cut,
        description="Members whose values are cut to their beginning (tracebacks to their end), each with the path of the whole"
        " value. Left out if nothing was cut.",
        examples=[{"data": "/api/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057/values/args"}],
    ),
]


def cut_of(task: Task, cut: Mapping[str, str]) -> dict[str, str]:
    """Return the path of the whole value for each member that was cut; `cut` has the values' names in queries/values.py."""
    # Two applications may have tasks of the same id; the row's key is unique.
    id_ = task.celery_id if task.application_id == NATIVE_ID else str(task.id)
    return {member: reverse("api:show_value", args=[id_, value]) for member, value in sorted(cut.items())}


class TaskAnswer(BaseModel):
    """One task."""

    task_id: TaskId
    task_type: str = Field(description="The task's name.")
    status: Status = Field(description=" ".join(f"`{status}`: {status.sentence}" for status in Status))
    data: Any = Field(description="The task's first argument.")
    result: Any = Field(description="The task's return value; null until it succeeds.")
    error: str | None = Field(description="The newest attempt's exception, as `Type: message`.")
    attempts: int = Field(description="How many times the task was started.")
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    processing_time: float | None = Field(description="Seconds spent in the task's body.")
    cut: Cut

    @classmethod
    def of(cls, item: TaskWithResult) -> Self:
        """Return the response for a task."""
        return cls.model_construct(**task_members(item))


def task_members(item: TaskWithResult) -> dict[str, Any]:
    """Return the values of a TaskAnswer. They come from the database, so they are not validated again."""
    task = item.task
    cut = {member: value for member, value in item.cut.items() if member in TaskAnswer.model_fields}
    return {
        "task_id": task.celery_id, "task_type": task.name, "status": Status(task.status), "data": item.data,
        "result": item.result, "error": item.error, "attempts": item.attempts, "worker": task.worker or None,
        "created_at": task.created_at, "started_at": task.started_at, "finished_at": task.finished_at,
        "processing_time": task.runtime, "cut": cut_of(task, cut),
    }  # fmt: skip
