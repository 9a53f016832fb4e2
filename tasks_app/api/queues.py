"""Queues for programs: how long they are, what waits in them, and pause, resume, purge."""

from datetime import datetime

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from tasks_app.analytics.window import SteppedWindow
from tasks_app.api.analytics_schemas import SpanAnswer
from tasks_app.control import queues as control
from tasks_app.control.queues import MAX_NOTE, MAX_PURGED
from tasks_app.queries import queues
from tasks_app.queries.queues import MAX_HELD, MAX_PEEKED, DepthPoint, QueueFilter, QueueView
from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, audit_details, authorize, known_caller
from zenith_site.common.errors import StateConflictError
from zenith_site.common.openapi import link_header
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_worker.wire.broker_queues import PRIORITY_STEPS, BrokerMessage
from zenith_worker.wire.queue_names import LONGEST

router = Router(tags=["queues"])


class PauseAnswer(BaseModel):
    """Since when a queue is paused, by whom, and why."""

    paused_at: datetime
    paused_by: str
    note: str


class DepthAnswer(BaseModel):
    """Messages of one priority step: kombu has a list for each, and takes those of lower numbers first."""

    priority: int
    depth: int = Field(ge=0)


class QueueAnswer(BaseModel):
    """One queue at this moment. Rates are per minute, over the last five whole minutes."""

    name: str
    depth: int = Field(ge=0, description="Messages that wait on the broker, of every priority.")
    unreadable: bool = Field(
        description="Whether something that is no queue has its place in Redis: then nobody knows its depth."
    )
    by_priority: list[DepthAnswer]
    unacknowledged: int = Field(ge=0, description="Messages that workers hold.")
    held: int = Field(
        ge=0,
        description=f"Tasks that PostgreSQL holds back because it is paused, or is about to send; counted up to {MAX_HELD:,}.",
    )
    oldest_seconds: float | None = Field(
        description="For how long the oldest waiting task has waited; null where none does, or where Zenith does not know it."
    )
    rate_out: float = Field(ge=0, description="Attempts that ended.")
    rate_in: float | None = Field(description="Those, and by what the depth grew; null until it was sampled for five minutes.")
    seconds_to_drain: float | None = Field(
        description="Until it is empty at these rates; null where that is never, or not known."
    )
    consumers: list[str] = Field(description="The workers that take from it.")
    slots: int = Field(ge=0, description="Tasks that these workers can run at once, of all their queues.")
    pause: PauseAnswer | None = Field(description="Set while it is paused.")

    @classmethod
    def of(cls, view: QueueView) -> "QueueAnswer":
        """Return the answer for a queue."""
        now, pause = view.now, view.pause
        return cls.model_construct(
            name=view.name, depth=now.depth, unreadable=now.unreadable, unacknowledged=now.unacknowledged, held=view.held,
            by_priority=[
                DepthAnswer.model_construct(priority=step, depth=depth)
                for step, depth in zip(PRIORITY_STEPS, now.depths, strict=True)
            ],
            oldest_seconds=now.oldest_seconds, rate_out=view.rate_out, rate_in=view.rate_in,
            seconds_to_drain=view.seconds_to_drain, consumers=view.consumers, slots=view.slots,
            pause=pause and PauseAnswer.model_construct(paused_at=pause.paused_at, paused_by=pause.paused_by, note=pause.note),
        )  # fmt: skip


class MessageAnswer(BaseModel):
    """One message on the broker."""

    task_id: str = Field(description="Empty where the message is none of Celery's.")
    task_type: str
    priority: int
    redelivered: bool = Field(description="Whether it was handed out before.")
    position: int | None = Field(description="From 1, the next to be taken, among those of its priority step; null where held.")
    worker: str | None = Field(description="Who holds it; null where nobody does, or where the worker is gone.")

    @classmethod
    def of(cls, message: BrokerMessage, worker: str | None = None) -> "MessageAnswer":
        """Return the answer for a message."""
        return cls.model_construct(
            task_id=message.task_id, task_type=message.task_name, priority=message.priority,
            redelivered=message.redelivered, position=message.position, worker=worker,
        )  # fmt: skip


class MessagesAnswer(BaseModel):
    """A look into a queue."""

    waiting: list[MessageAnswer] = Field(description="In the order in which workers take them.")
    unacknowledged: list[MessageAnswer] = Field(description="What workers hold, in no order.")


class PeekQuery(BaseModel):
    """How much to look at."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=MAX_PEEKED, description="Messages of each priority step, and of those held.")


class DepthPointAnswer(BaseModel):
    """One step: the highest that was seen; null where no engine looked."""

    at: datetime
    depth: int | None
    unacknowledged: int | None
    oldest_seconds: float | None

    @classmethod
    def of(cls, point: DepthPoint) -> "DepthPointAnswer":
        """Return the answer for one step."""
        return cls.model_construct(
            at=point.at, depth=point.depth, unacknowledged=point.unacknowledged, oldest_seconds=point.oldest_seconds
        )


class HistoryAnswer(SpanAnswer):
    """How long a queue was, step by step."""

    step_seconds: int = Field(ge=60)
    points: list[DepthPointAnswer]


class PauseRequest(BaseModel):
    """Why."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"note": "The bank is down until noon."}]}
    )

    note: str = Field(default="", description="For whoever wonders later.", json_schema_extra={"maxLength": MAX_NOTE})


class PurgeRequest(BaseModel):
    """Whether to do it."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(default=False, description="Only count what would be revoked.")


class PurgeAnswer(BaseModel):
    """What was purged, or would be."""

    dry_run: bool
    revoked: int = Field(ge=0, description="Tasks that are REVOKED now; in a dry run, those that would be.")
    running: int = Field(ge=0, description="Tasks that a worker had begun by then: they go on.")
    messages_removed: int = Field(ge=0)
    remaining: int = Field(ge=0, description=f"Tasks that still wait: one call revokes {MAX_PURGED:,} at most. Call again.")


@router.get("", response=list[QueueAnswer], summary="List queues", operation_id="list_queues", openapi_extra=link_header())
def list_queues(request: HttpRequest, response: HttpResponse, chosen: Query[QueueFilter]) -> list[QueueAnswer]:
    """Return one page of the queues that are consumed, paused, waited in, or were in use within the hour; by name.

    The field `Link: <…>; rel="next"` leads to the next page where there is one.
    """
    authorize(request, VIEW)
    refuse_unknown(request, QueueFilter)
    page = chosen.page()
    link_next(request, response, page.following)
    return [QueueAnswer.of(view) for view in page.queues]


@router.get("/{name:name}/messages", response=MessagesAnswer, summary="Look into a queue", operation_id="peek_queue")
def peek(request: HttpRequest, name: str, chosen: Query[PeekQuery]) -> MessagesAnswer:
    """Return the messages that are next, and those that workers hold. Nothing is taken."""
    authorize(request, VIEW)
    refuse_unknown(request, PeekQuery)
    control.refuse_reserved(_checked(name))
    return MessagesAnswer.model_construct(
        waiting=[MessageAnswer.of(message) for message in queues.peek(name, chosen.limit)],
        unacknowledged=[MessageAnswer.of(*pair) for pair in queues.peek_unacknowledged(name, chosen.limit)],
    )


@router.get("/{name:name}/history", response=HistoryAnswer, summary="Show how long a queue was", operation_id="queue_history")
def history(request: HttpRequest, name: str, chosen: Query[SteppedWindow]) -> HistoryAnswer:
    """Return its depth, what workers held, and the oldest one's age in each step of a window."""
    authorize(request, VIEW)
    refuse_unknown(request, SteppedWindow)
    span = chosen.span()
    points = [DepthPointAnswer.of(point) for point in queues.history(_checked(name), span)]
    return HistoryAnswer.model_construct(**SpanAnswer.ends(span), step_seconds=span.step, points=points)


@router.post(
    "/{name:name}/pause", response=QueueAnswer, summary="Pause a queue", operation_id="pause_queue", auth=requires(OPERATE)
)
def pause(request: HttpRequest, name: str, body: PauseRequest | None = None) -> QueueAnswer:
    """Send nothing to it any more, and have no worker take from it; it lasts until it is resumed.

    Its tasks wait in PostgreSQL, its messages on the broker; what workers had reserved runs. Workers follow
    within two seconds. 409 where it is paused already.
    """
    caller = known_caller(request)
    if not control.pause(_checked(name), by=caller.name, note=(body or PauseRequest()).note):
        raise StateConflictError(f"The queue {name!r} is paused already.")
    return _answer(name)


@router.post(
    "/{name:name}/resume", response=QueueAnswer, summary="Resume a queue", operation_id="resume_queue", auth=requires(OPERATE)
)
def resume(request: HttpRequest, name: str) -> QueueAnswer:
    """End its pause; what was held back is sent. 409 where it is not paused."""
    if not control.resume(_checked(name)):
        raise StateConflictError(f"The queue {name!r} is not paused.")
    # By now nobody may know the queue any more.
    return QueueAnswer.of(queues.view(name))


@router.post(
    "/{name:name}/purge", response=PurgeAnswer, summary="Purge a queue", operation_id="purge_queue", auth=requires(OPERATE)
)
def purge(request: HttpRequest, name: str, body: PurgeRequest | None = None) -> PurgeAnswer:
    """Revoke what waits in a queue and remove its messages: each task ends as REVOKED, with an event that says who did it.

    Scheduled tasks, and failed ones that wait for their next attempt, stay.
    """
    caller = known_caller(request)
    queue = _known(name)
    if body and body.dry_run:
        waiting = control.count_waiting(queue)
        return PurgeAnswer(dry_run=True, revoked=waiting, running=0, messages_removed=0, remaining=waiting)
    done = control.purge(queue, by=caller.name)
    audit_details(request, revoked=done.revoked, messages_removed=done.removed)
    return PurgeAnswer(
        dry_run=False, revoked=done.revoked, running=done.running, messages_removed=done.removed, remaining=done.remaining
    )


# A name takes slashes, so this stands behind the routes that go on after it.
@router.get("/{name:name}", response=QueueAnswer, summary="Show one queue", operation_id="show_queue")
def show_queue(request: HttpRequest, name: str) -> QueueAnswer:
    """Return one queue at this moment."""
    authorize(request, VIEW)
    return _answer(name)


def _answer(name: str) -> QueueAnswer:
    found = queues.find(_checked(name))
    if found is None:
        raise _unknown(name)
    return QueueAnswer.of(found)


def _known(name: str) -> str:
    if not queues.is_known(_checked(name)):
        raise _unknown(name)
    return name


def _checked(name: str) -> str:
    """Return a name that a queue can have. Raises Http404."""
    if not 0 < len(name) <= LONGEST:
        raise _unknown(name)
    return name


def _unknown(name: str) -> Http404:
    return Http404(f"There is no queue {name[:LONGEST]!r}.")
