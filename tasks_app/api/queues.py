"""`/api/v1/queues`: depths, rates and messages of queues; pause, resume and purge."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from tasks_app.analytics.window import SteppedWindow
from tasks_app.api.analytics_schemas import SpanAnswer
from tasks_app.control import attached_queues as attached_control
from tasks_app.control import queues as control
from tasks_app.control.queues import MAX_NOTE, MAX_PURGED
from tasks_app.models import Application, AttachedPause, QueuePause
from tasks_app.queries import attached_queues, queues
from tasks_app.queries.attached_queues import AttachedQueue
from tasks_app.queries.queue_rates import DepthPoint, history
from tasks_app.queries.queues import MAX_HELD, MAX_PEEKED, QueueFilter, QueueView
from tasks_app.queries.waiting_messages import ShownMessage, shown, waiting_messages
from tasks_app.search.parameters import FilterText
from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize, known_caller
from zenith_site.common.errors import StateConflictError
from zenith_site.common.openapi import link_header, problem_responses
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.messages import PRIORITY_STEPS
from zenith_worker.wire.queue_names import LONGEST
from zenith_worker.wire.states import Status

router = Router(tags=["queues"])


class PauseAnswer(BaseModel):
    """When a queue was paused, by whom, and why."""

    paused_at: datetime
    paused_by: str
    note: str

    @classmethod
    def of(cls, pause: QueuePause | AttachedPause) -> "PauseAnswer":
        """Return the response for a pause."""
        return cls.model_construct(paused_at=pause.paused_at, paused_by=pause.paused_by, note=pause.note)


class DepthAnswer(BaseModel):
    """Messages of one priority step. Kombu keeps a list for each step, and takes lower numbers first."""

    priority: int
    depth: int = Field(ge=0)


class QueueAnswer(BaseModel):
    """The current state of a queue. Rates are per minute, over the last five whole minutes.

    Of another application Zenith knows what its workers tell, or its observer if it is watched; the rest is null, and its lists
    are empty.
    """

    name: str
    application: str = Field(description="The name of its application; `zenith` is Zenith's own.")
    depth: int | None = Field(
        ge=0,
        description="Messages waiting on the broker, of all priorities; null if nobody tells of another application's queue.",
    )
    depth_age_seconds: float | None = Field(
        ge=0,
        description="How long ago the depth of another application's queue was counted; null for Zenith's own, read just now.",
    )
    unreadable: bool = Field(
        description="Whether its key in Redis holds something other than a queue, so that its depth is unknown."
    )
    by_priority: list[DepthAnswer]
    unacknowledged: int | None = Field(ge=0, description="Messages that workers have taken but not acknowledged.")
    held: int = Field(
        ge=0,
        description=f"Tasks held in PostgreSQL because the queue is paused, or about to be sent; counted up to {MAX_HELD:,}.",
    )
    oldest_seconds: float | None = Field(
        description="How long the oldest waiting task has waited; null if none waits, or if Zenith does not know the task."
        " Of another application: the oldest one whose sender reports to Zenith."
    )
    rate_out: float | None = Field(
        ge=0, description="Attempts that ended; null if the queues of some of another application's tasks are not known."
    )
    rate_in: float | None = Field(
        description="`rate_out` plus the growth of the depth; null until there are five minutes of samples."
    )
    seconds_to_drain: float | None = Field(
        description="Time until the queue is empty at these rates; null if that is never, or unknown."
    )
    consumers: list[str] = Field(description="The workers that consume it.")
    broker_consumers: int | None = Field(
        ge=0, description="How many consumers the broker of a watched application counts; null where it does not tell, as Redis."
    )
    slots: int = Field(ge=0, description="Tasks that these workers can run at once, across all their queues.")
    pause: PauseAnswer | None = Field(description="Set while the queue is paused.")

    @classmethod
    def of(cls, view: QueueView) -> "QueueAnswer":
        """Return the response for a queue."""
        now, pause = view.now, view.pause
        return cls.model_construct(
            name=view.name, application=NATIVE_NAME, depth=now.depth, depth_age_seconds=None, unreadable=now.unreadable,
            unacknowledged=now.unacknowledged, held=view.held,
            by_priority=[
                DepthAnswer.model_construct(priority=step, depth=depth)
                for step, depth in zip(PRIORITY_STEPS, now.depths, strict=True)
            ],
            oldest_seconds=now.oldest_seconds, rate_out=view.rate_out, rate_in=view.rate_in,
            seconds_to_drain=view.seconds_to_drain, consumers=view.consumers, slots=view.slots, broker_consumers=None,
            pause=PauseAnswer.of(pause) if pause else None,
        )  # fmt: skip

    @classmethod
    def of_attached(cls, application: str, queue: AttachedQueue) -> "QueueAnswer":
        """Return the response for a queue of another application."""
        observed = queue.observed
        return cls.model_construct(
            name=queue.name, application=application, depth=queue.waiting, depth_age_seconds=queue.told_seconds,
            unreadable=queue.unreadable, unacknowledged=None, held=queue.by_status.get(Status.PENDING, 0),
            by_priority=[
                DepthAnswer.model_construct(priority=step, depth=depth)
                for step, depth in (observed.by_priority if observed else ())
            ],
            oldest_seconds=queue.oldest_seconds, rate_out=queue.rates.served, rate_in=queue.rates.arriving,
            seconds_to_drain=queue.seconds_to_drain, consumers=queue.consumers, slots=queue.slots,
            pause=PauseAnswer.of(queue.pause) if queue.pause else None,
            broker_consumers=observed.consumers if observed else None,
        )  # fmt: skip


def _shows(request: HttpRequest) -> Shows:
    return Shows.of(request.GET.get("application", NATIVE_NAME))


#: For what is done to a queue of the application in the query.
_OPERATES: Final = requires(OPERATE, _shows)


class QueueQuery(QueueFilter):
    """Which queues to list, and whose."""

    application: FilterText = Field(default=NATIVE_NAME, description="Queues of the application with this name.")


class OneQueueQuery(BaseModel):
    """Whose queue is meant."""

    model_config = ConfigDict(extra="forbid")

    application: FilterText = Field(default=NATIVE_NAME, description="The name of its application.")


class MessageAnswer(BaseModel):
    """One message on the broker."""

    task_id: str = Field(description="Empty if the message is not from Celery.")
    task_type: str
    priority: int
    redelivered: bool = Field(description="Whether it was delivered before.")
    position: int | None = Field(description="Place in its priority step; 1 is taken next. Null if a worker holds it.")
    worker: str | None = Field(description="The worker that holds it; null if none does, or if that worker is gone.")
    args: list[Any] | None = Field(
        description="Positional arguments as the message describes them, masked and cut; null if it does not."
    )
    kwargs: dict[str, Any] | None = Field(description="Keyword arguments, likewise.")
    eta: datetime | None = Field(description="When it is due at the earliest; null if at once.")
    expires_at: datetime | None = Field(description="When it expires; null if never.")
    content_type: str = Field(description="Of its body; only JSON is read. Empty if the message is not from Celery or kombu.")

    @classmethod
    def of(cls, shown_message: ShownMessage, worker: str | None = None) -> "MessageAnswer":
        """Return the response for a message."""
        message, arguments = shown_message.message, shown_message.arguments
        return cls.model_construct(
            task_id=message.task_id, task_type=message.task_name, priority=message.priority,
            redelivered=message.redelivered, position=message.position, worker=worker,
            args=arguments and arguments.args, kwargs=arguments and arguments.kwargs, eta=shown_message.eta,
            expires_at=shown_message.expires_at, content_type=message.content_type,
        )  # fmt: skip


class MessagesAnswer(BaseModel):
    """Messages of a queue."""

    waiting: list[MessageAnswer] = Field(description="Waiting messages, in the order in which workers take them.")
    unacknowledged: list[MessageAnswer] | None = Field(
        description="Messages that workers hold, in no particular order; null for another application."
    )


class PeekQuery(OneQueueQuery):
    """Whose queue to look into, and how many messages to return."""

    limit: int = Field(
        default=20,
        ge=1,
        le=MAX_PEEKED,
        description="Maximum number of waiting messages per priority step, and of unacknowledged ones.",
    )


class HistoryQuery(SteppedWindow):
    """Whose queue, and which time."""

    application: FilterText = Field(default=NATIVE_NAME, description="The name of its application.")


class DepthPointAnswer(BaseModel):
    """One step: the highest value sampled in it; null if no engine took a sample."""

    at: datetime
    depth: int | None
    unacknowledged: int | None
    oldest_seconds: float | None

    @classmethod
    def of(cls, point: DepthPoint) -> "DepthPointAnswer":
        """Return the response for one step."""
        return cls.model_construct(
            at=point.at, depth=point.depth, unacknowledged=point.unacknowledged, oldest_seconds=point.oldest_seconds
        )


class HistoryAnswer(SpanAnswer):
    """The depth of a queue, step by step."""

    step_seconds: int = Field(ge=60)
    points: list[DepthPointAnswer]


class PauseRequest(BaseModel):
    """The reason for a pause."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"note": "The bank is down until noon."}]}
    )

    note: str = Field(default="", description="The reason, shown with the queue.", json_schema_extra={"maxLength": MAX_NOTE})


class PurgeRequest(BaseModel):
    """Whether to purge, or only to count."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(default=False, description="Only count the tasks that would be revoked.")


class PurgeAnswer(BaseModel):
    """The result of a purge, or of its dry run."""

    dry_run: bool
    revoked: int = Field(
        ge=0,
        description="Tasks that were revoked; in a dry run, tasks that would be. Of another application: tasks whose messages a"
        " worker has removed, which are REVOKED once its report is recorded, and tasks that were not sent yet.",
    )
    running: int = Field(ge=0, description="Tasks that a worker had already started; they continue.")
    messages_removed: int = Field(ge=0)
    remaining: int = Field(
        ge=0, description=f"Tasks that still wait. One call revokes at most {MAX_PURGED:,}; call again for the rest."
    )
    error: str = Field(default="", description="Why a worker of another application ended the purge early; empty if it did not.")


@router.get(
    "", response=list[QueueAnswer], summary="List queues", operation_id="list_queues",
    openapi_extra={"responses": {**link_header()["responses"], **problem_responses(HTTPStatus.NOT_FOUND)["responses"]}},
)  # fmt: skip
def list_queues(request: HttpRequest, response: HttpResponse, query: Query[QueueQuery]) -> list[QueueAnswer]:
    """Return one page of queues, by name: those with consumers, with waiting tasks, paused, or used within the last hour.

    Of another application that you name, these are the queues that its workers consume, and those of its open tasks.
    The header `Link: <…>; rel="next"` points to the next page, if any.
    """
    application = _application(request, query.application)
    refuse_unknown(request, QueueQuery)
    if application.is_native:
        page = query.page()
        link_next(request, response, page.following)
        return [QueueAnswer.of(view) for view in page.queues]
    found, has_more = attached_queues.page_of(application, query.q, query.cursor, query.limit)
    link_next(request, response, query.model_copy(update={"cursor": found[-1].name}) if has_more else None)
    return [QueueAnswer.of_attached(application.name, queue) for queue in found]


@router.get(
    "/{name:name}/messages", response=MessagesAnswer, summary="List a queue's messages", operation_id="peek_queue",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)  # fmt: skip
def peek(request: HttpRequest, name: str, query: Query[PeekQuery]) -> MessagesAnswer:
    """Return the messages that are next, and those that workers hold. No message is removed.

    Of a watched application, its observer looks, which takes a moment, and only Redis shows messages without taking them; returns
    409 if it cannot, and for an attached application.
    """
    application = _application(request, query.application)
    refuse_unknown(request, PeekQuery)
    if application.is_native:
        control.refuse_reserved(_checked(name))
        held = queues.peek_unacknowledged(name, query.limit)
        messages = shown([message for message, _ in held], application)
        unacknowledged = [MessageAnswer.of(message, worker) for message, (_, worker) in zip(messages, held, strict=True)]
    elif attached_queues.find(application, name) is None:
        raise _unknown(name)
    waiting = [MessageAnswer.of(message) for message in waiting_messages(application, name, query.limit)]
    return MessagesAnswer.model_construct(waiting=waiting, unacknowledged=unacknowledged if application.is_native else None)


@router.get(
    "/{name:name}/history", response=HistoryAnswer, summary="Show a queue's depth over time", operation_id="queue_history",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show_history(request: HttpRequest, name: str, query: Query[HistoryQuery]) -> HistoryAnswer:
    """Return the depth, the unacknowledged messages and the age of the oldest task for each step of a window."""
    application = _application(request, query.application)
    refuse_unknown(request, HistoryQuery)
    span = query.span()
    points = [DepthPointAnswer.of(point) for point in history(_checked(name), span, application.pk)]
    return HistoryAnswer.model_construct(**SpanAnswer.ends(span), step_seconds=span.step, points=points)


@router.post("/{name:name}/pause", response=QueueAnswer, summary="Pause a queue", operation_id="pause_queue", auth=_OPERATES)
def pause(request: HttpRequest, name: str, query: Query[OneQueueQuery], body: PauseRequest | None = None) -> QueueAnswer:
    """Stop sending to a queue, and stop workers from taking from it, until it is resumed.

    New tasks wait in PostgreSQL, messages already sent wait on the broker, and tasks that workers have reserved
    still run. Workers follow within two seconds. Returns 409 if the queue is already paused.

    Of another application, what that sends itself waits at its broker.
    """
    application, caller, note = _operated(request, query), known_caller(request), (body or PauseRequest()).note
    if not application.is_native:
        if not attached_control.pause(application, _known_to(application, name), by=caller.name, note=note):
            raise StateConflictError(f"The queue {name!r} is already paused.")
        return _attached_answer(application, name)
    if not control.pause(_checked(name), by=caller.name, note=note):
        raise StateConflictError(f"The queue {name!r} is already paused.")
    return _answer(name)


@router.post("/{name:name}/resume", response=QueueAnswer, summary="Resume a queue", operation_id="resume_queue", auth=_OPERATES)
def resume(request: HttpRequest, name: str, query: Query[OneQueueQuery]) -> QueueAnswer:
    """Resume a paused queue and send the tasks that were held back. Returns 409 if it is not paused."""
    application = _operated(request, query)
    if not application.is_native:
        if not attached_control.resume(application, _checked(name)):
            raise StateConflictError(f"The queue {name!r} is not paused.")
        return QueueAnswer.of_attached(application.name, attached_queues.find(application, name) or AttachedQueue(name))
    if not control.resume(_checked(name)):
        raise StateConflictError(f"The queue {name!r} is not paused.")
    # An empty queue that nobody consumes may be unknown from now on.
    return QueueAnswer.of(queues.view(name))


@router.post("/{name:name}/purge", response=PurgeAnswer, summary="Purge a queue", operation_id="purge_queue", auth=_OPERATES)
def purge(request: HttpRequest, name: str, query: Query[OneQueueQuery], body: PurgeRequest | None = None) -> PurgeAnswer:
    """Revoke the waiting tasks of a queue and remove their messages. An event on each task names who purged it.

    Scheduled tasks stay, and so do failed tasks that wait for their next attempt.

    Of another application, one of its workers removes the messages, also of tasks that Zenith does not know. Returns 409 if none
    online can, and 504 if none takes the command within seconds.
    """
    application, caller = _operated(request, query), known_caller(request)
    if not application.is_native:
        return _purge_attached(request, application, _known_to(application, name), caller.name, bool(body and body.dry_run))
    queue = _known(name)
    if body and body.dry_run:
        waiting = control.count_waiting(queue)
        return PurgeAnswer(dry_run=True, revoked=waiting, running=0, messages_removed=0, remaining=waiting)
    result = control.purge(queue, by=caller.name)
    audit_details(request, revoked=result.revoked, messages_removed=result.removed)
    return PurgeAnswer(
        dry_run=False, revoked=result.revoked, running=result.running, messages_removed=result.removed, remaining=result.remaining
    )


# A name may contain slashes, so this route comes after the more specific ones.
@router.get("/{name:name}", response=QueueAnswer, summary="Show one queue", operation_id="show_queue")
def show_queue(request: HttpRequest, name: str, query: Query[OneQueueQuery]) -> QueueAnswer:
    """Return the current state of one queue: Zenith's own, or that of another application that you name."""
    application = _application(request, query.application)
    refuse_unknown(request, OneQueueQuery)
    if application.is_native:
        return _answer(name)
    return _attached_answer(application, name)


def _operated(request: HttpRequest, query: OneQueueQuery) -> Application:
    """Return the application whose queue is meant; the audit log names it. Raises InvalidQueryError or Http404."""
    refuse_unknown(request, OneQueueQuery)
    application = Application.named(query.application) if known_caller(request).sees(query.application) else None
    if application is None:
        raise Http404(f"There is no application {query.application[:50]!r}.")
    if not application.is_native:
        audit_details(request, application=application.name)
    return application


def _purge_attached(request: HttpRequest, application: Application, queue: str, by: str, dry_run: bool) -> PurgeAnswer:
    if dry_run:
        waiting = attached_control.count_waiting(application, queue).number
        return PurgeAnswer(dry_run=True, revoked=waiting, running=0, messages_removed=0, remaining=waiting)
    result = attached_control.purge(application, queue, by=by)
    audit_details(request, revoked=result.revoked, messages_removed=result.removed)
    return PurgeAnswer(
        dry_run=False, revoked=result.revoked, running=0, messages_removed=result.removed, remaining=result.remaining or 0,
        error=result.error,
    )  # fmt: skip


def _attached_answer(application: Application, name: str) -> QueueAnswer:
    queue = attached_queues.find(application, name)
    if queue is None:
        raise _unknown(name)
    return QueueAnswer.of_attached(application.name, queue)


def _known_to(application: Application, name: str) -> str:
    if attached_queues.find(application, _checked(name)) is None:
        raise _unknown(name)
    return name


def _application(request: HttpRequest, name: str) -> Application:
    """Return the application with a name, if the caller may see it. Raises PermissionDenied or Http404."""
    caller = authorize(request, VIEW, Shows.of(name))
    application = Application.named(name) if caller.sees(name) else None
    if application is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    return application


def _answer(name: str) -> QueueAnswer:
    view = queues.find(_checked(name))
    if view is None:
        raise _unknown(name)
    return QueueAnswer.of(view)


def _known(name: str) -> str:
    if not queues.is_known(_checked(name)):
        raise _unknown(name)
    return name


def _checked(name: str) -> str:
    """Return the name if a queue can have it. Raises Http404."""
    if not 0 < len(name) <= LONGEST:
        raise _unknown(name)
    return name


def _unknown(name: str) -> Http404:
    return Http404(f"There is no queue {name[:LONGEST]!r}.")
