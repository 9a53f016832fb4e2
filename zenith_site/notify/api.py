"""Notifications for programs: listing them as their user sees them, and marking them as read."""

from datetime import datetime
from typing import Annotated

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field, model_validator

from zenith_site.auth.api import requires
from zenith_site.common.callers import VIEW, audit_details, authorize, known_caller
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_site.notify import inbox
from zenith_site.notify.inbox import MAX_LIMIT, NotificationFilter
from zenith_site.notify.kinds import Channel, NotificationKind, Severity
from zenith_site.notify.models import Delivery, DeliveryState, Notification, Step

router = Router(tags=["notifications"])

_SEVERITIES = " ".join(f"`{severity}`: {severity.sentence}" for severity in Severity)
_STATES = " ".join(f"`{state.value}`: {state.sentence}" for state in DeliveryState)


class DeliveryAnswer(BaseModel):
    """What became of telling it outside."""

    channel: Channel
    step: Step = Field(description="Whether its beginning or its end is told.")
    state: DeliveryState = Field(description=_STATES)
    attempts: int
    due_at: datetime = Field(description="When it is tried next, while it waits.")
    sent_at: datetime | None
    error: str = Field(description="Why the newest attempt failed.")

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryAnswer":
        """Return the answer for a delivery."""
        return cls(**{name: getattr(delivery, name) for name in cls.model_fields})


class NotificationAnswer(BaseModel):
    """One occurrence of something that people should know of."""

    id: int
    kind: NotificationKind
    key: str = Field(description="What tells it from others of its kind: a fingerprint, or a worker's or a queue's name.")
    severity: Severity = Field(description=_SEVERITIES)
    title: str
    body: str
    link: str = Field(description="The page of its cause, as a path of this site.")
    count: int = Field(description="How many failures, or how often it came back before it was over.")
    opened_at: datetime
    last_seen_at: datetime
    recovered_at: datetime | None = Field(description="When it was over; null while it holds.")
    recovery: str = Field(description="How it ended.")
    read: bool = Field(description="Whether you have read it.")
    deliveries: list[DeliveryAnswer]

    @classmethod
    def of(cls, found: Notification) -> "NotificationAnswer":
        """Return the answer for a notification of an inbox."""
        fields = {name: getattr(found, name) for name in cls.model_fields if name != "deliveries"}
        return cls(**fields, deliveries=[DeliveryAnswer.of(delivery) for delivery in found.deliveries.all()])


class ReadRequest(BaseModel):
    """Which notifications are read: those with these `ids`, or `all`."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"ids": [41, 42]}, {"all": True}]})

    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = Field(
        default=None, min_length=1, max_length=MAX_LIMIT, description="Those with these ids."
    )
    all: bool = Field(default=False, description="Every one that you have not read.")

    @model_validator(mode="after")
    def _one_way(self) -> "ReadRequest":
        if (self.ids is not None) == self.all:
            raise ValueError("say which: exactly one of `ids` and `all`")
        return self


class ReadAnswer(BaseModel):
    """How many were marked."""

    read: int = Field(description="Those that you had not read before.")
    unread: int = Field(description="How many are left that you have not read.")


@router.get("", response=list[NotificationAnswer], summary="List notifications, newest first", operation_id="list_notifications")
def list_notifications(
    request: HttpRequest, response: HttpResponse, chosen: Query[NotificationFilter]
) -> list[NotificationAnswer]:
    """Return one page; the field `Link: <…>; rel="next"` leads to the next where there is one."""
    caller = authorize(request, VIEW)
    refuse_unknown(request, NotificationFilter)
    page = chosen.page(caller.user)
    link_next(request, response, page.following)
    return [NotificationAnswer.of(found) for found in page.notifications]


@router.post(
    "/read", response=ReadAnswer, summary="Mark notifications as read", operation_id="read_notifications", auth=requires(VIEW)
)
def read_notifications(request: HttpRequest, body: ReadRequest) -> ReadAnswer:
    """Mark them as read by the token's user. Twice is once; ids that are not there count for nothing."""
    caller = known_caller(request)
    marked = inbox.mark_read(caller.user, body.ids)
    audit_details(request, read=marked)
    return ReadAnswer(read=marked, unread=inbox.unread_by(caller.user).count())


@router.get("/{id}", response=NotificationAnswer, summary="Show one notification", operation_id="show_notification")
def show_notification(request: HttpRequest, id: str) -> NotificationAnswer:
    """Return it with what became of its messages."""
    caller = authorize(request, VIEW)
    number = int(id) if id.isascii() and id.isdigit() and len(id) < 19 else 0
    found = NotificationFilter(limit=1, cursor=number + 1).page(caller.user).notifications
    if not number or not found or found[0].id != number:
        raise Http404(f"There is no notification {id[:100]!r}.")
    return NotificationAnswer.of(found[0])
