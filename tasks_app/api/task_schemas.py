"""What `/api/v1/tasks` takes and gives."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tasks_app.api.schemas import QUEUE, Cut, Moment, TaskAnswer, TriggerRequest, cut_of, read_id, task_members
from tasks_app.dispatch.cancel import Cancelled
from tasks_app.dispatch.create import MAX_COUNT, MAX_PRIORITY, Dispatched
from tasks_app.dispatch.schedule import Changes
from tasks_app.models import Task, TaskEvent
from tasks_app.queries.attempts import AttemptView
from tasks_app.queries.detail import TaskDetail
from tasks_app.queries.tasks import QueryText, TaskFilter, TaskWithResult
from tasks_app.search.parameters import FilterText
from zenith_site.common.masking import mask_text
from zenith_site.common.previews import SHOWN, SHOWN_ALONE
from zenith_worker.wire.states import Status

#: Different dispatches in one request.
MAX_DISPATCHES = 1000
#: Tasks that one request cancels; it says whether more match.
MAX_CANCELLED = 10_000


class DispatchRequest(BaseModel):
    """One dispatch or many; all are written, or none is."""

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
        min_length=1, max_length=MAX_DISPATCHES, description=f"Each makes a batch; {MAX_COUNT:,} tasks in all at most."
    )


class BatchMade(BaseModel):
    """What came of one dispatch."""

    batch_id: UUID
    triggered: int
    ids: list[UUID]


class DispatchAnswer(BaseModel):
    """What was dispatched, in the order of the request."""

    triggered: int = Field(description="Tasks in all.")
    batches: list[BatchMade]

    @classmethod
    def of(cls, done: Sequence[Dispatched]) -> Self:
        """Return the answer for some dispatches."""
        batches = [BatchMade(batch_id=one.batch_id, triggered=len(one.ids), ids=one.ids) for one in done]
        return cls(triggered=sum(one.triggered for one in batches), batches=batches)


class TaskSummary(TaskAnswer):
    """One task, as lists show it."""

    queue: str
    priority: int | None
    batch_id: UUID | None
    not_before: datetime | None = Field(description="When a scheduled task is due, or a failed one runs again.")

    @classmethod
    def of(cls, found: TaskWithResult) -> Self:
        """Return the answer for a task."""
        return cls.model_construct(**summary_members(found))


def summary_members(found: TaskWithResult) -> dict[str, Any]:
    """Return the values of a TaskSummary. They come from the database: none is checked again."""
    task = found.task
    own = {"queue": task.queue, "priority": task.priority, "batch_id": task.batch_id, "not_before": task.not_before}
    return task_members(found) | own


class EventAnswer(BaseModel):
    """One step of a task."""

    event_id: int
    status: Status
    attempt: int
    at: datetime = Field(description="When it happened, by the clock of who saw it.")
    worker: str | None
    message: str

    @classmethod
    def of(cls, event: TaskEvent) -> Self:
        """Return the answer for an event."""
        return cls.model_construct(
            event_id=event.id, status=Status(event.status), attempt=event.attempt, at=event.at, worker=event.worker or None,
            message=mask_text(event.message),
        )  # fmt: skip


class RunOfTask(BaseModel):
    """One run of a task that a worker had: those that went wrong, and the one that its row shows."""

    attempt: int = Field(description="Which attempt, from 1.")
    delivery: int = Field(description="How often its message had been handed out before.")
    status: Status
    worker: str | None
    received_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    error_type: str | None
    error_message: str | None
    traceback: str | None
    cut: Cut

    @classmethod
    def of(cls, run: AttemptView, task: Task, room: int = SHOWN_ALONE) -> Self:
        """Return the answer for a run, with `room` for its traceback: of a longer one the end."""
        cut = {"traceback": run.value} if len(run.traceback) > room else {}
        traceback = run.traceback[-max(room, SHOWN) :]
        return cls.model_construct(
            attempt=run.attempt, delivery=run.delivery, status=Status(run.status), worker=run.worker or None,
            received_at=run.received_at, started_at=run.started_at, finished_at=run.finished_at,
            error_type=run.error_type or None, error_message=run.error_message or None, traceback=traceback or None,
            cut=cut_of(task, cut),
        )  # fmt: skip


def _runs(task: Task, runs: Sequence[AttemptView]) -> Iterator[RunOfTask]:
    """Yield the answers for a task's runs: the newest ones' tracebacks as a whole, as far as there is room for all of them."""
    room = SHOWN_ALONE
    for run in runs:
        yield RunOfTask.of(run, task, room)
        room = max(0, room - len(run.traceback))


class TaskDetailAnswer(TaskSummary):
    """One task, in full."""

    why: str = Field(
        description="Why it is where it is, in a sentence for people.", examples=["No worker consumes the queue reports."]
    )
    args: list[Any]
    kwargs: dict[str, Any]
    source: str = Field(description="`page`, `api`, `command`, `engine`, or `external` for tasks that other programs sent.")
    max_retries: int | None
    time_limit: int | None = Field(description="Seconds after which its process is killed.")
    soft_time_limit: int | None = Field(description="Seconds after which SoftTimeLimitExceeded is raised in it.")
    expires_at: datetime | None
    queued_at: datetime | None
    received_at: datetime | None
    cancel_requested_at: datetime | None
    timeline: list[EventAnswer] = Field(description="What happened, oldest first.")
    runs: list[RunOfTask] = Field(description="Its attempts, newest first.")
    replay_of: UUID | None = Field(description="The task that this one was sent in place of.")
    replayed_by: list[UUID] = Field(description="The tasks that were sent in its place, oldest first; twenty at most.")
    parent_id: UUID | None = Field(description="The task that sent this one while it ran; it may be known no more.")
    children: list[UUID] = Field(
        description="The tasks that this one sent while it ran, newest first; twenty at most (search for `parent:ID`)."
    )

    @classmethod
    def of_detail(cls, detail: TaskDetail) -> Self:
        """Return the answer for a task."""
        task, arguments = detail.found.task, detail.found.arguments
        members = summary_members(detail.found) | {"cut": cut_of(task, detail.found.cut)}
        return cls.model_construct(
            **members, why=detail.why, args=arguments.args, kwargs=arguments.kwargs, source=task.source,
            max_retries=task.max_retries, time_limit=task.time_limit, soft_time_limit=task.soft_time_limit,
            expires_at=task.expires_at, queued_at=task.queued_at, received_at=task.received_at,
            cancel_requested_at=task.cancel_requested_at, timeline=[EventAnswer.of(event) for event in detail.events],
            runs=list(_runs(task, detail.attempts)), replay_of=task.replay_of_id,
            replayed_by=[relative.id for relative in detail.lineage.replayed_by], parent_id=task.parent_id,
            children=[relative.id for relative in detail.lineage.children],
        )  # fmt: skip


class CancelOne(BaseModel):
    """How to cancel a task."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"force": True}]})

    force: bool = Field(default=False, description="Kill it where it runs; without, what runs goes on to its end.")


class Chosen(BaseModel):
    """Open tasks that match all that is given; at least one of these must be."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"minProperties": 1, "examples": [{"q": "queue:reports since:1h"}]}
    )

    status: Status | None = Field(default=None, description="Only tasks in this status.")
    task: FilterText = Field(default="", description="Only tasks of this name.")
    q: QueryText = Field(default="", description="The search of the list.")

    @model_validator(mode="after")
    def _narrows(self) -> Self:
        if not (self.status or self.task or self.q.strip()):
            raise ValueError("say which: at least one of `status`, `task` and `q`")
        return self

    def to_filter(self) -> TaskFilter:
        """Return this as the list's filter."""
        return TaskFilter(status=self.status, task=self.task, q=self.q)


class CancelMany(BaseModel):
    """Which tasks to cancel: exactly one of `ids` and `filter`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"filter": {"q": "queue:reports"}, "dry_run": True}]}
    )

    ids: list[Annotated[UUID, BeforeValidator(read_id)]] | None = Field(
        default=None, min_length=1, max_length=1000, description="These tasks."
    )
    filter: Chosen | None = Field(default=None, description="The open tasks that match.")
    force: bool = Field(default=False, description="Kill those that run; without, what runs goes on to its end.")
    dry_run: bool = Field(default=False, description="Change nothing; only say how many are meant.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("say which: exactly one of `ids` and `filter`")
        return self


class CancelAnswer(BaseModel):
    """What became of a wish to cancel, in numbers of tasks."""

    matched: int = Field(description="Open tasks that were meant.")
    revoked: int = Field(description="Will never run, or never again.")
    running: int = Field(description="Run on to their end; with `force` they are being killed.")
    finished: int = Field(description="Ended before.")
    more: bool = Field(default=False, description=f"Whether more match than the {MAX_CANCELLED:,} that one request takes.")
    dry_run: bool = False

    @classmethod
    def of(cls, done: Cancelled, *, matched: int, more: bool = False) -> Self:
        """Return the answer for a cancellation."""
        return cls(matched=matched, revoked=done.revoked, running=done.running, finished=done.finished, more=more)


class RetryRequest(BaseModel):
    """How to run a task again."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"forced": True}]})

    forced: bool = Field(default=False, description="Also one that was run again, or whose dead letter was discarded, before.")


class RetryAnswer(BaseModel):
    """The new task."""

    task_id: UUID
    replay_of: UUID = Field(description="The task that it stands in for.")


class EditRequest(BaseModel):
    """What to change of a scheduled task; what is left out, or null, stays."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"not_before": "2030-01-31T12:00:00Z", "priority": 3}]}
    )

    not_before: Annotated[Moment, Field(description="When it is due; a time that is past makes it due at once.")] = None
    queue: str | None = Field(default=None, json_schema_extra=QUEUE)
    priority: int | None = Field(default=None, json_schema_extra={"minimum": 0, "maximum": MAX_PRIORITY})
    args: list[Any] | None = Field(default=None, description="All arguments that are sent by position.")
    kwargs: dict[str, Any] | None = Field(default=None, description="All named arguments.")

    def to_changes(self) -> Changes:
        """Return this as what edit() takes."""
        return Changes(**{name: getattr(self, name) for name in type(self).model_fields})
