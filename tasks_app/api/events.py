"""`/api/v1/events`: the events of all tasks, after an id, before an id, or the newest."""

from datetime import datetime

from django.http import HttpRequest
from ninja import Query, Router
from pydantic import BaseModel, Field

from tasks_app.api.schemas import TaskId
from tasks_app.models import TaskEvent
from tasks_app.queries.application_names import names_of
from tasks_app.queries.events import EventFilter, EventPage
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.masking import mask_text
from zenith_site.common.paging import refuse_unknown
from zenith_worker.wire.states import Status

router = Router(tags=["events"])


class EventAnswer(BaseModel):
    """One step of one task."""

    id: int = Field(description="Ids ascend in the order in which Zenith recorded the steps; there may be gaps.")
    task_id: TaskId
    application: str = Field(description="The name of the task's application; `zenith` is Zenith's own.")
    task_type: str
    queue: str
    status: Status
    attempt: int = Field(ge=1)
    worker: str | None
    at: datetime = Field(description="When it happened, by the clock of the process that observed it.")
    message: str = Field(description="The reason, if there is more to say than the status does.")

    @classmethod
    def of(cls, event: TaskEvent, application: str) -> "EventAnswer":
        """Return the response for an event of a task of this application."""
        return cls.model_construct(
            id=event.id, task_id=event.task.celery_id, application=application, task_type=event.task.name, queue=event.task.queue,
            status=Status(event.status), attempt=event.attempt, worker=event.worker or None, at=event.at,
            message=mask_text(event.message),
        )  # fmt: skip


class EventsAnswer(BaseModel):
    """A page of events, by ascending id."""

    events: list[EventAnswer]
    after: int = Field(description="Pass this as `after` to get later events, even if there are none yet.")
    before: int | None = Field(description="Pass this as `before` to get earlier events; null if there are none.")
    more: bool = Field(description="Whether there are more events in the requested direction, even if this page is empty.")

    @classmethod
    def of(cls, page: EventPage) -> "EventsAnswer":
        """Return the response for a page."""
        names = names_of(event.task for event in page.events)
        events = [EventAnswer.of(event, names[event.task.application_id]) for event in page.events]
        return cls.model_construct(events=events, after=page.after, before=page.before, more=page.more)


@router.get("", response=EventsAnswer, summary="List events", operation_id="list_events")
def list_events(request: HttpRequest, query: Query[EventFilter]) -> EventsAnswer:
    """Return the newest events, the events after an id (none is ever missed), or the events before an id.

    With filters a page searches at most 20,000 events, so it may be short: continue while `more` is true.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, EventFilter)
    return EventsAnswer.of(query.limited_to(caller.applications).page())
