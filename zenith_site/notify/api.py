"""Notifications in the API: listing them as the caller sees them, and marking them as read."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field, model_validator

from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize, known_caller
from zenith_site.common.openapi import problem_responses
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_site.notify import inbox
from zenith_site.notify.inbox import MAX_LIMIT, NotificationFilter
from zenith_site.notify.kinds import NotificationKind, Severity
from zenith_site.notify.models import Delivery, DeliveryState, Notification, Step
from zenith_site.notify.rule_changes import Until

router = Router(tags=["notifications"])

_SEVERITIES = " ".join(f"`{severity}`: {severity.sentence}" for severity in Severity)
_STATES = " ".join(f"`{state.value}`: {state.sentence}" for state in DeliveryState)


class DeliveryAnswer(BaseModel):
    """The delivery of a notification through one channel."""

    channel: str = Field(description="`email`, `slack` or `webhook` for those of the environment, or the key of another one.")
    step: Step = Field(description="Whether it is about the notification's beginning or its end.")
    state: DeliveryState = Field(description=_STATES)
    attempts: int
    due_at: datetime = Field(description="When the next attempt is due, while the delivery is waiting.")
    sent_at: datetime | None
    error: str = Field(description="Why the latest attempt failed.")

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryAnswer":
        """Return the answer for a delivery."""
        return cls(**{name: getattr(delivery, name) for name in cls.model_fields})


class NotificationAnswer(BaseModel):
    """One occurrence of a condition that needs attention."""

    id: int
    kind: NotificationKind
    key: str = Field(description="What identifies it within its kind: a fingerprint, or the name of a worker or a queue.")
    severity: Severity = Field(description=_SEVERITIES)
    title: str
    body: str
    link: str = Field(description="The page about its cause, as a path on this site.")
    count: int = Field(description="The number of failures, or how often the condition came back before it was over.")
    opened_at: datetime
    last_seen_at: datetime
    recovered_at: datetime | None = Field(description="When it was over; `null` while it is ongoing.")
    recovery: str = Field(description="How it ended.")
    muted_until: datetime | None = Field(description="Until then it rings no bell and sends nothing.")
    read: bool = Field(description="Whether you have read it.")
    deliveries: list[DeliveryAnswer]

    @classmethod
    def of(cls, notification: Notification) -> "NotificationAnswer":
        """Return the answer for a notification of an inbox."""
        fields = {name: getattr(notification, name) for name in cls.model_fields if name != "deliveries"}
        return cls(**fields, deliveries=[DeliveryAnswer.of(delivery) for delivery in notification.deliveries.all()])


class ReadRequest(BaseModel):
    """Which notifications to mark as read: those with these `ids`, or `all`."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"ids": [41, 42]}, {"all": True}]})

    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = Field(
        default=None, min_length=1, max_length=MAX_LIMIT, description="The notifications with these ids."
    )
    all: bool = Field(default=False, description="All notifications that you have not read.")

    @model_validator(mode="after")
    def _one_way(self) -> "ReadRequest":
        if (self.ids is not None) == self.all:
            raise ValueError("send exactly one of `ids` and `all`")
        return self


class ReadAnswer(BaseModel):
    """The number of marked notifications."""

    read: int = Field(description="The number of notifications that were unread before.")
    unread: int = Field(description="The number of notifications that are still unread.")


@router.get("", response=list[NotificationAnswer], summary="List notifications, newest first", operation_id="list_notifications")
def list_notifications(
    request: HttpRequest, response: HttpResponse, query: Query[NotificationFilter]
) -> list[NotificationAnswer]:
    """Return one page. If there is a next page, the header `Link: <…>; rel="next"` leads to it."""
    caller = authorize(request, VIEW, Shows.EVERYTHING)
    refuse_unknown(request, NotificationFilter)
    page = query.page(caller.user)
    link_next(request, response, page.following)
    return [NotificationAnswer.of(notification) for notification in page.notifications]


@router.post(
    "/read",
    response=ReadAnswer,
    summary="Mark notifications as read",
    operation_id="read_notifications",
    auth=requires(VIEW, Shows.EVERYTHING),
)
def read_notifications(request: HttpRequest, body: ReadRequest) -> ReadAnswer:
    """Mark notifications as read by the token's user. Idempotent; unknown ids are ignored."""
    caller = known_caller(request)
    marked = inbox.mark_read(caller.user, body.ids)
    audit_details(request, read=marked)
    return ReadAnswer(read=marked, unread=inbox.unread_by(caller.user).count())


class MuteRequest(BaseModel):
    """Until when a notification is muted."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"until": "2030-01-31T12:00:00Z"}})

    until: Until = Field(description="At most a year from now; `null` ends it.")


@router.post(
    "/{id}/mute",
    response=NotificationAnswer,
    summary="Mute a notification",
    operation_id="mute_notification",
    auth=requires(OPERATE, Shows.EVERYTHING),
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)
def mute_notification(request: HttpRequest, id: str, body: MuteRequest) -> NotificationAnswer:
    """Mute a notification for everybody. If its condition comes back before, that is muted as well."""
    notification = _find(request, id)
    inbox.mute(notification, body.until)
    audit_details(request, notification=notification.id, muted_until=body.until.isoformat() if body.until else None)
    return NotificationAnswer.of(notification)


@router.get("/{id}", response=NotificationAnswer, summary="Show one notification", operation_id="show_notification")
def show_notification(request: HttpRequest, id: str) -> NotificationAnswer:
    """Return one notification with its deliveries."""
    authorize(request, VIEW, Shows.EVERYTHING)
    return NotificationAnswer.of(_find(request, id))


def _find(request: HttpRequest, id: str) -> Notification:
    caller = known_caller(request)
    number = int(id) if id.isascii() and id.isdigit() and len(id) < 19 else 0
    matches = NotificationFilter(limit=1, cursor=number + 1).page(caller.user).notifications
    if not number or not matches or matches[0].id != number:
        raise Http404(f"There is no notification {id[:100]!r}.")
    return matches[0]
