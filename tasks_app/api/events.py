"""The events of all tasks for programs: after one, before one, or the newest."""

from datetime import datetime

from django.http import HttpRequest
from ninja import Query, Router
from pydantic import BaseModel, Field

from tasks_app.api.schemas import TaskId
from tasks_app.models import TaskEvent
from tasks_app.queries.events import EventFilter, EventPage
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.masking import mask_text
from zenith_site.common.paging import refuse_unknown
from zenith_worker.wire.states import Status

router = Router(tags=["events"])


class EventAnswer(BaseModel):
    """One step of one task."""

    id: int = Field(description="Ids follow the order in which the steps became known; some numbers are left out.")
    task_id: TaskId
    task_type: str
    queue: str
    status: Status
    attempt: int = Field(ge=1)
    worker: str | None
    at: datetime = Field(description="When it happened, by the clock of who saw it.")
    message: str = Field(description="Why, where there is more to say than the status does.")

    @classmethod
    def of(cls, event: TaskEvent) -> "EventAnswer":
        """Return the answer for an event."""
        return cls.model_construct(
            id=event.id, task_id=event.task.celery_id, task_type=event.task.name, queue=event.task.queue,
            status=Status(event.status), attempt=event.attempt, worker=event.worker or None, at=event.at,
            message=mask_text(event.message),
        )  # fmt: skip


class EventsAnswer(BaseModel):
    """A page of events, by ascending ids."""

    events: list[EventAnswer]
    after: int = Field(description="Ask with this `after` for what comes next; also where nothing has come yet.")
    before: int | None = Field(description="Ask with this `before` for what came earlier; null where nothing did.")
    more: bool = Field(description="Whether there is more in the direction that was asked for, perhaps after an empty page.")

    @classmethod
    def of(cls, page: EventPage) -> "EventsAnswer":
        """Return the answer for a page."""
        events = [EventAnswer.of(event) for event in page.events]
        return cls.model_construct(events=events, after=page.after, before=page.before, more=page.more)


@router.get("", response=EventsAnswer, summary="List events", operation_id="list_events")
def list_events(request: HttpRequest, chosen: Query[EventFilter]) -> EventsAnswer:
    """Return the newest events, those after an id (none is ever missed), or those before one.

    A page with filters looks through 20,000 events at most, so it may be short: go on while `more` is true.
    """
    authorize(request, VIEW)
    refuse_unknown(request, EventFilter)
    return EventsAnswer.of(chosen.page())
