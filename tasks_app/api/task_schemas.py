"""Requests and responses of `/api/v1/tasks`."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks_app.api.schemas import QUEUE, Cut, GivenId, Moment, TaskAnswer, TriggerRequest, cut_of, task_members
from tasks_app.diagnosis.waiting import explained
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.dispatch.create import MAX_COUNT, MAX_PRIORITY, Dispatched
from tasks_app.dispatch.schedule import Changes
from tasks_app.models import Task, TaskEvent
from tasks_app.queries.attempts import AttemptView
from tasks_app.queries.detail import TaskDetail
from tasks_app.queries.progress import ProgressView
from tasks_app.queries.tasks import QueryText, TaskFilter, TaskWithResult
from tasks_app.search.parameters import FilterText
from zenith_site.common.masking import mask_text
from zenith_site.common.previews import SHOWN, SHOWN_ALONE
from zenith_worker.wire.states import Status

#: Different dispatches in one request.
MAX_DISPATCHES = 1000
#: Tasks that one request cancels; its response says whether more match.
MAX_CANCELLED = 10_000


class DispatchRequest(BaseModel):
    """One dispatch or many. Either all are accepted, or none."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"dispatches": [{"task": "analyze_text", "data": "One."}, {"task": "drill_sleep", "kwargs": {"seconds": 1}}]}
            ]
        },
    )

    dispatches: list[TriggerRequest] = Field(
        min_length=1,
        max_length=MAX_DISPATCHES,
        description=f"Each dispatch becomes a batch. At most {MAX_COUNT:,} tasks in total.",
    )


class BatchMade(BaseModel):
    """The batch that one dispatch created."""

    batch_id: UUID
    triggered: int
    ids: list[UUID]


class DispatchAnswer(BaseModel):
    """The batches that were created, in the order of the request."""

    triggered: int = Field(description="The number of tasks in total.")
    batches: list[BatchMade]

    @classmethod
    def of(cls, dispatched: Sequence[Dispatched]) -> Self:
        """Return the response for some dispatches."""
        batches = [BatchMade(batch_id=batch.batch_id, triggered=len(batch.ids), ids=batch.celery_ids) for batch in dispatched]
        return cls(triggered=sum(batch.triggered for batch in batches), batches=batches)


class ProgressAnswer(BaseModel):
    """How far a task is, as it told last."""

    current: float | None = Field(description="Steps that are done.")
    total: float | None = Field(description="All steps; null if that is unknown.")
    percent: float | None = Field(description="The share of the steps that are done.", ge=0, le=100)
    state: str | None = Field(description="The name of the task's custom state.", examples=["PROGRESS"])
    meta: Any = Field(description="What else the task told with it; long values are cut.")
    at: datetime = Field(description="When it told that, by its worker's clock.")
    rate: float | None = Field(description="Steps a second over the recent reports; null until there are enough.", ge=0)
    seconds_left: float | None = Field(description="How long the rest takes at that rate.", ge=0)

    @classmethod
    def of(cls, view: ProgressView | None) -> Self | None:
        """Return the response for a task's progress, if it tells any."""
        if view is None:
            return None
        return cls.model_construct(
            current=view.current, total=view.total, percent=view.percent, state=view.state or None, meta=view.meta, at=view.at,
            rate=view.pace.rate, seconds_left=view.pace.seconds_left,
        )  # fmt: skip


class TaskSummary(TaskAnswer):
    """One task, as lists show it."""

    queue: str
    priority: int | None
    batch_id: UUID | None
    application: str = Field(description="The name of the task's application; `zenith` is Zenith's own.")
    not_before: datetime | None = Field(description="When a scheduled task is due, or when a failed one runs again.")
    progress: ProgressAnswer | None = Field(description="How far it is; null if it does not tell, or not yet in its newest run.")
    cpu_seconds: float | None = Field(description="CPU time of the run that ended it; null if that is unknown.")
    memory_bytes: int | None = Field(description="The largest memory of its process during that run; null if that is unknown.")

    @classmethod
    def of(cls, item: TaskWithResult) -> Self:
        """Return the response for a task."""
        return cls.model_construct(**summary_members(item))


def summary_members(item: TaskWithResult) -> dict[str, Any]:
    """Return the values of a TaskSummary. They come from the database, so they are not validated again."""
    task = item.task
    own = {
        "queue": task.queue, "priority": task.priority, "batch_id": task.batch_id, "application": item.application,
        "not_before": task.not_before, "progress": ProgressAnswer.of(item.progress), "cpu_seconds": task.cpu,
        "memory_bytes": task.memory,
    }  # fmt: skip
    return task_members(item) | own


class EventAnswer(BaseModel):
    """One step of a task."""

    event_id: int
    status: Status
    attempt: int
    at: datetime = Field(description="When it happened, by the clock of the process that observed it.")
    worker: str | None
    message: str

    @classmethod
    def of(cls, event: TaskEvent) -> Self:
        """Return the response for an event."""
        return cls.model_construct(
            event_id=event.id, status=Status(event.status), attempt=event.attempt, at=event.at, worker=event.worker or None,
            message=mask_text(event.message),
        )  # fmt: skip


class RunOfTask(BaseModel):
    """One run of a task by a worker: a failed one, or the newest."""

    attempt: int = Field(description="The number of the attempt, from 1.")
    delivery: int = Field(description="How many times its message had been delivered before.")
    status: Status
    worker: str | None
    received_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cpu_seconds: float | None = Field(description="CPU time of its body; null if that is unknown.")
    memory_bytes: int | None = Field(description="The largest memory of its process while it ran; null if that is unknown.")
    error_type: str | None
    error_message: str | None
    traceback: str | None
    cut: Cut

    @classmethod
    def of(cls, run: AttemptView, task: Task, room: int = SHOWN_ALONE) -> Self:
        """Return the response for a run; of its traceback at most the last `room` characters."""
        cut = {"traceback": run.value} if len(run.traceback) > room else {}
        traceback = run.traceback[-max(room, SHOWN) :]
        return cls.model_construct(
            attempt=run.attempt, delivery=run.delivery, status=Status(run.status), worker=run.worker or None,
            received_at=run.received_at, started_at=run.started_at, finished_at=run.finished_at,
            cpu_seconds=run.cpu, memory_bytes=run.memory,
            error_type=run.error_type or None, error_message=run.error_message or None, traceback=traceback or None,
            cut=cut_of(task, cut),
        )  # fmt: skip


def _runs(task: Task, runs: Sequence[AttemptView]) -> Iterator[RunOfTask]:
    """Yield the responses for a task's runs. The newest tracebacks are whole, as long as together they fit SHOWN_ALONE."""
    room = SHOWN_ALONE
    for run in runs:
        yield RunOfTask.of(run, task, room)
        room = max(0, room - len(run.traceback))


class TaskDetailAnswer(TaskSummary):
    """One task, in full."""

    why: str = Field(
        description="A sentence that explains the current status.", examples=["No worker consumes the queue reports."]
    )
    args: list[Any]
    kwargs: dict[str, Any]
    source: str = Field(description="Who dispatched it: `page`, `api`, `command`, `engine`, or `external` for other programs.")
    max_retries: int | None
    time_limit: int | None = Field(description="Seconds after which the task's process is killed.")
    soft_time_limit: int | None = Field(description="Seconds after which SoftTimeLimitExceeded is raised in the task.")
    expires_at: datetime | None
    queued_at: datetime | None
    received_at: datetime | None
    cancel_requested_at: datetime | None
    timeline: list[EventAnswer] = Field(description="The task's events, oldest first.")
    runs: list[RunOfTask] = Field(description="The task's runs, newest first.")
    replay_of: UUID | None = Field(description="The task that this one replaces.")
    replayed_by: list[UUID] = Field(description="The tasks that replace this one, oldest first; at most twenty.")
    parent_id: UUID | None = Field(description="The task that sent this one while it ran; it may have been pruned.")
    workflow_id: UUID | None = Field(description="Its workflow, for `/api/v1/workflows`; null if it belongs to none.")
    children: list[UUID] = Field(
        description="The tasks that this one sent while it ran, newest first; at most twenty. Search for `parent:ID` to get all."
    )

    @classmethod
    def of_detail(cls, detail: TaskDetail) -> Self:
        """Return the response for a task."""
        task, arguments = detail.task_with_result.task, detail.task_with_result.arguments
        members = summary_members(detail.task_with_result) | {"cut": cut_of(task, detail.task_with_result.cut)}
        return cls.model_construct(
            **members, why=explained(task, detail.why), args=arguments.args, kwargs=arguments.kwargs, source=task.source,
            max_retries=task.max_retries, time_limit=task.time_limit, soft_time_limit=task.soft_time_limit,
            expires_at=task.expires_at, queued_at=task.queued_at, received_at=task.received_at,
            cancel_requested_at=task.cancel_requested_at, timeline=[EventAnswer.of(event) for event in detail.events],
            runs=list(_runs(task, detail.attempts)), replay_of=task.replay_of_id,
            replayed_by=[relative.id for relative in detail.lineage.replayed_by], parent_id=task.parent_id,
            children=[relative.id for relative in detail.lineage.children], workflow_id=detail.lineage.workflow,
        )  # fmt: skip


class CancelOne(BaseModel):
    """How to cancel a task."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"force": True}]})

    force: bool = Field(default=False, description="Kill the task if it is running. Otherwise a running task finishes.")


class Chosen(BaseModel):
    """Open tasks that match every given filter; at least one filter is required."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"minProperties": 1, "examples": [{"q": "queue:reports since:1h"}]}
    )

    status: Status | None = Field(default=None, description="Only tasks in this status.")
    task: FilterText = Field(default="", description="Only tasks with this name.")
    q: QueryText = Field(default="", description="A search, as in the list of tasks.")

    @model_validator(mode="after")
    def _narrows(self) -> Self:
        if not (self.status or self.task or self.q.strip()):
            raise ValueError("give at least one of `status`, `task` and `q`")
        return self

    def to_filter(self) -> TaskFilter:
        """Return this as the list's filter."""
        return TaskFilter(status=self.status, task=self.task, q=self.q)


class CancelMany(BaseModel):
    """The tasks to cancel: exactly one of `ids` and `filter`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"filter": {"q": "queue:reports"}, "dry_run": True}]}
    )

    ids: list[GivenId] | None = Field(
        default=None, min_length=1, max_length=1000, description="The ids of the tasks, of whatever application."
    )
    filter: Chosen | None = Field(default=None, description="Cancel the open tasks that match.")
    force: bool = Field(default=False, description="Kill tasks that are running. Otherwise running tasks finish.")
    dry_run: bool = Field(default=False, description="Change nothing; only count the tasks.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give exactly one of `ids` and `filter`")
        return self


class CancelAnswer(BaseModel):
    """The result of a cancellation, as numbers of tasks."""

    matched: int = Field(description="Open tasks that were selected.")
    revoked: int = Field(description="Tasks that will not run, or not run again.")
    running: int = Field(description="Tasks that are still running and will finish; with `force` they are being killed.")
    finished: int = Field(description="Tasks that had already ended.")
    requested: int = Field(
        default=0,
        description="Tasks of other applications whose workers are asked to refuse them, and with `force` to kill them.",
    )
    problems: list[str] = Field(
        default_factory=list,
        description="Tasks of watched applications that could not be cancelled, and workers that refused or did not answer.",
    )
    more: bool = Field(
        default=False, description=f"Whether more tasks match than the {MAX_CANCELLED:,} that one request cancels."
    )
    dry_run: bool = False

    @classmethod
    def of(cls, result: Cancelled, *, matched: int, more: bool = False) -> Self:
        """Return the response for a cancellation."""
        return cls(
            matched=matched, revoked=result.revoked, running=result.running, finished=result.finished, requested=result.requested,
            problems=list(result.problems), more=more,
        )  # fmt: skip


class RetryRequest(BaseModel):
    """How to run a task again."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"forced": True}]})

    forced: bool = Field(
        default=False, description="Run the task again even if it was run again before, or if its dead letter was discarded."
    )


class RetryAnswer(BaseModel):
    """The new task."""

    task_id: UUID
    replay_of: UUID = Field(description="The task that it replaces.")


class EditRequest(BaseModel):
    """Changes to a scheduled task; members that are left out or null stay unchanged."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"not_before": "2030-01-31T12:00:00Z", "priority": 3}]}
    )

    not_before: Annotated[Moment, Field(description="When the task is due; a time in the past makes it due now.")] = None
    queue: str | None = Field(default=None, json_schema_extra=QUEUE)
    priority: int | None = Field(default=None, json_schema_extra={"minimum": 0, "maximum": MAX_PRIORITY})
    args: list[Any] | None = Field(default=None, description="All positional arguments.")
    kwargs: dict[str, Any] | None = Field(default=None, description="All keyword arguments.")

    def to_changes(self) -> Changes:
        """Return this as the changes that edit() takes."""
        return Changes(**{name: getattr(self, name) for name in type(self).model_fields})
