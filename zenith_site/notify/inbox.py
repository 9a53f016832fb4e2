"""The notifications as one person sees them: what is unread, lists, marking; and how long they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, QuerySet, Window
from django.db.models.functions import Now
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Delivery, Notification, Reading

if TYPE_CHECKING:
    from django.contrib.auth.models import User

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1000
#: Of the bell's panel.
NEWEST: Final = 6
_MOST: Final = 2**63 - 1
_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class Bell:
    """How many notifications somebody has not read, and the newest of them."""

    unread: int
    notices: Sequence[Notification]


@dataclass(frozen=True)
class Page:
    """Some notifications, newest first, and the filter that continues after them, if there are more."""

    notifications: Sequence[Notification]
    following: "NotificationFilter | None"


class NotificationFilter(BaseModel):
    """Which notifications to list. Owns the queries and the links, for the page and the API alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: int = Field(default=0, ge=0, le=_MOST, description="Where to go on; taken from the `Link` of a page.")
    unread: bool = Field(default=False, description="Only those that you have not read.")
    open: bool = Field(default=False, description="Only those whose condition still holds.")
    kind: Annotated[NotificationKind | None, BeforeValidator(lambda value: value or None)] = Field(
        default=None,
        description="Only of this kind. " + " ".join(f"`{kind.value}`: {kind.sentence}" for kind in NotificationKind),
    )

    def page(self, user: "User") -> Page:
        """Return one page, each with `read` and its `deliveries`; two queries."""
        query = self._query(user).annotate(read=_read_by(user)).prefetch_related(_DELIVERIES)
        found = list(query.order_by("-id")[: self.limit + 1])
        shown = found[: self.limit]
        following = self.model_copy(update={"cursor": shown[-1].id}) if len(found) > self.limit else None
        return Page(shown, following)

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode({name: _text(value) for name, value in self.model_dump(exclude_defaults=True, mode="json").items()})

    def _query(self, user: "User") -> QuerySet[Notification]:
        query = unread_by(user) if self.unread else Notification.objects.all()
        if self.cursor:
            query = query.filter(id__lt=self.cursor)
        if self.open:
            query = query.filter(recovered_at=None)
        return query.filter(kind=self.kind) if self.kind else query


_DELIVERIES: Final = Prefetch("deliveries", Delivery.objects.order_by("id"))


def bell(user: "User") -> Bell:
    """Return what the bell says, in one query."""
    newest = list(unread_by(user).annotate(unread=Window(Count("id"))).order_by("-id")[:NEWEST])
    return Bell(newest[0].unread if newest else 0, newest)


def unread_by(user: "User") -> QuerySet[Notification]:
    """Return what somebody has not read of what happened since they joined."""
    return Notification.objects.filter(~_read_by(user))


def counts(user: "User") -> dict[str, int]:
    """Return how many notifications there are: `all`, `unread`, `open`, and of each kind; one query, since they are few."""
    found: dict[str, int] = Notification.objects.aggregate(
        all=Count("id"), unread=Count("id", filter=~_read_by(user)), open=Count("id", filter=Q(recovered_at=None)),
        **{kind.value: Count("id", filter=Q(kind=kind)) for kind in NotificationKind},
    )  # fmt: skip
    return found


def mark_read(user: "User", ids: Sequence[int] | None = None, kind: NotificationKind | None = None) -> int:
    """Mark notifications as read by somebody: those with these ids, else all (of one kind); return how many were not yet."""
    # Locked, so that none is pruned before it is marked.
    chosen = unread_by(user).select_for_update(no_key=True).order_by("id")
    if ids is not None:
        chosen = chosen.filter(id__in=ids)
    if kind is not None:
        chosen = chosen.filter(kind=kind)
    with transaction.atomic():
        readings = [Reading(user=user, notification=notification) for notification in chosen.only("id")]
        # Twice at once is once.
        Reading.objects.bulk_create(readings, ignore_conflicts=True)
    return len(readings)


def prune() -> int:
    """Remove what ended ZENITH_NOTIFICATION_DAYS ago, and the oldest beyond ZENITH_NOTIFICATION_MAX; return how many.

    What still holds goes last, and by number only.
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
    """Remove chunk by chunk, each a transaction, with what hangs on each notification."""
    removed = 0
    while ids := [row["id"] for row in chunk.all()]:
        Notification.objects.filter(id__in=ids).delete()
        removed += len(ids)
    return removed


def _read_by(user: "User") -> Q:
    """Whether somebody has read a notification; what began before they joined is no news to them."""
    return Q(Exists(Reading.objects.filter(notification=OuterRef("pk"), user=user))) | Q(opened_at__lt=user.date_joined)


def _text(value: Any) -> Any:
    return "1" if value is True else value
