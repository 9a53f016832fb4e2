"""The notifications as one user sees them: unread ones, lists, marking as read; muting them for all; and their retention."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Count, Exists, F, IntegerField, OuterRef, Prefetch, Q, QuerySet, Value, When, Window
from django.db.models.functions import Now
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from zenith_site.common.live_updates import refresh_pages
from zenith_site.notify.kinds import NotificationKind, Severity
from zenith_site.notify.models import Delivery, Notification, Reading

if TYPE_CHECKING:
    from django.contrib.auth.models import User

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1000
#: Notifications in the bell's panel.
NEWEST: Final = 6
_MOST: Final = 2**63 - 1
_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class Bell:
    """The number of a user's unread notifications, and the first of them: the most severe, then the newest."""

    unread: int
    notices: Sequence[Notification]


@dataclass(frozen=True)
class Page:
    """Some notifications in order, and the filter that continues after them, if there are more."""

    notifications: Sequence[Notification]
    following: "NotificationFilter | None"


class NotificationFilter(BaseModel):
    """Which notifications to list. Owns the queries and the links, for both the page and the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: int = Field(default=0, ge=0, le=_MOST, description="Where to continue: taken from the `Link` of a page.")
    after: int = Field(default=0, ge=0, le=len(Severity), description="The same, if they are ordered by severity.")
    order: Literal["newest", "severity"] = Field(
        default="newest",
        description="`severity`: those that are ongoing and not muted come first, the most severe before others.",
    )
    unread: bool = Field(default=False, description="Only notifications that you have not read.")
    open: bool = Field(default=False, description="Only notifications whose condition still holds.")
    kind: Annotated[NotificationKind | None, BeforeValidator(lambda value: value or None)] = Field(
        default=None,
        description="Only notifications of this kind. "
        + " ".join(f"`{kind.value}`: {kind.sentence}" for kind in NotificationKind),
    )

    def page(self, user: "User") -> Page:
        """Return one page, each with `read` and its `deliveries`; two queries."""
        query = self._query(user).annotate(read=_read_by(user)).prefetch_related(_DELIVERIES)
        if self.order == "severity":
            query = query.annotate(urgency=_urgency()).order_by("-urgency", "-id")
            if self.cursor:
                query = query.filter(Q(urgency__lt=self.after) | Q(urgency=self.after, id__lt=self.cursor))
        else:
            query = query.order_by("-id").filter(**({"id__lt": self.cursor} if self.cursor else {}))
        matches = list(query[: self.limit + 1])
        notifications = matches[: self.limit]
        return Page(notifications, self._after(notifications[-1]) if len(matches) > self.limit else None)

    def query_string(self) -> str:
        """Return this filter as a URL's query, without the defaults."""
        return urlencode({name: _text(value) for name, value in self.model_dump(exclude_defaults=True, mode="json").items()})

    def _after(self, last: Notification) -> "NotificationFilter":
        return self.model_copy(update={"cursor": last.id, "after": getattr(last, "urgency", 0)})

    def _query(self, user: "User") -> QuerySet[Notification]:
        query = unread_by(user) if self.unread else Notification.objects.all()
        if self.open:
            query = query.filter(recovered_at=None)
        return query.filter(kind=self.kind) if self.kind else query


_DELIVERIES: Final = Prefetch("deliveries", Delivery.objects.order_by("id"))


def bell(user: "User") -> Bell:
    """Return the bell's content, in one query."""
    unread = unread_by(user).annotate(unread=Window(Count("id")), urgency=_urgency())
    first = list(unread.order_by("-urgency", "-id")[:NEWEST])
    return Bell(first[0].unread if first else 0, first)


def unread_by(user: "User") -> QuerySet[Notification]:
    """Return the notifications since a user joined that they have not read, without muted ones."""
    return Notification.objects.filter(~_read_by(user)).exclude(_muted())


def counts(user: "User") -> dict[str, int]:
    """Return the number of notifications: `all`, `unread`, `open`, and of each kind; one query, since they are few."""
    numbers: dict[str, int] = Notification.objects.aggregate(
        all=Count("id"), unread=Count("id", filter=~_read_by(user) & ~_muted()), open=Count("id", filter=Q(recovered_at=None)),
        **{kind.value: Count("id", filter=Q(kind=kind)) for kind in NotificationKind},
    )  # fmt: skip
    return numbers


def mark_read(user: "User", ids: Sequence[int] | None = None, kind: NotificationKind | None = None) -> int:
    """Mark notifications as read by a user: those with these ids, else all (of one kind); return how many were unread."""
    # Locked, so that none is pruned before it is marked.
    selection = unread_by(user).select_for_update(no_key=True).order_by("id")
    if ids is not None:
        selection = selection.filter(id__in=ids)
    if kind is not None:
        selection = selection.filter(kind=kind)
    with transaction.atomic():
        readings = [Reading(user=user, notification=notification) for notification in selection.only("id")]
        # Two concurrent requests may mark the same one.
        Reading.objects.bulk_create(readings, ignore_conflicts=True)
    return len(readings)


def mute(notification: Notification, until: datetime | None) -> None:
    """Mute a notification for all until a moment, or end that. If its condition comes back before, that is muted as well."""
    notification.muted_until = until
    notification.save(update_fields=["muted_until"])
    refresh_pages("notifications")


def prune() -> int:
    """Remove notifications that ended ZENITH_NOTIFICATION_DAYS ago, and those beyond ZENITH_NOTIFICATION_MAX; return how many.

    Open notifications are removed last, and only if there are too many.
    """
    newest_first = Notification.objects.order_by(F("recovered_at").desc(nulls_first=True), "-id")
    beyond = newest_first.values("id")[settings.ZENITH_NOTIFICATION_MAX : settings.ZENITH_NOTIFICATION_MAX + _CHUNK]
    return _remove(_ended().order_by("id").values("id")[:_CHUNK]) + _remove(beyond)


def count_prunable() -> int:
    """Return how many notifications `prune` would remove now."""
    ended = _ended().count()
    return ended + max(0, Notification.objects.count() - ended - settings.ZENITH_NOTIFICATION_MAX)


def _ended() -> QuerySet[Notification]:
    return Notification.objects.filter(recovered_at__lt=Now() - timedelta(days=settings.ZENITH_NOTIFICATION_DAYS))


def _remove(chunk: QuerySet[Notification, Any]) -> int:
    """Remove notifications with their related rows, chunk by chunk, each in a transaction."""
    removed = 0
    while ids := [row["id"] for row in chunk.all()]:
        Notification.objects.filter(id__in=ids).delete()
        removed += len(ids)
    return removed


def _muted() -> Q:
    # Without the first part it would be unknown, and not false, for what was never muted.
    return Q(muted_until__isnull=False, muted_until__gt=Now())


def _urgency() -> Case:
    """Return the expression by which the most urgent come first: 0 for what is over or muted."""
    by_severity = [When(severity=severity, then=Value(severity.rank + 1)) for severity in Severity]
    calm = Q(recovered_at__isnull=False) | _muted()
    return Case(When(calm, then=Value(0)), *by_severity, default=Value(0), output_field=IntegerField())


def _read_by(user: "User") -> Q:
    """Return the condition that a user has read a notification; one from before they joined counts as read."""
    return Q(Exists(Reading.objects.filter(notification=OuterRef("pk"), user=user))) | Q(opened_at__lt=user.date_joined)


def _text(value: Any) -> Any:
    return "1" if value is True else value
