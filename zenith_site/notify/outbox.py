"""The outbox: deliveries are written with their notification, and sent at least once by an engine that claims them.

1. `tell_opened` and `tell_recovered` write deliveries in the transaction that changes the notification. A beginning that was
   never attempted is skipped once its condition is over; an end is sent wherever the beginning was.
2. `claim` takes what is due: deliveries of one channel, kind and step go out in one message, whose id they keep. Claims are made
   one at a time, under an advisory lock; after LEASE seconds another engine may claim the message again.
3. `record_outcome` stores the result. An unreachable receiver is tried again with a growing back-off (`pause_after`) for a day.

The throttle delays the second message of a kind, so that everything that comes in the meantime goes out as one message.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from zenith_site.common import faults
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.live_updates import refresh_pages
from zenith_site.common.loops import repeat
from zenith_site.common.sql import statements
from zenith_site.notify import channels
from zenith_site.notify.channels import SendError
from zenith_site.notify.kinds import Channel, NotificationKind, Severity
from zenith_site.notify.messages import OutgoingMessage
from zenith_site.notify.models import Delivery, DeliveryState, Step

logger = logging.getLogger(__name__)

#: Seconds between two checks for due deliveries.
LOOK_EVERY: Final = 2.0
#: How long an engine has to record the outcome of a message before another one sends it; a receiver's timeouts are much shorter.
LEASE: Final = timedelta(seconds=120)
#: Notifications in one message at most.
MAX_NOTIFICATIONS: Final = 500
#: Seconds after the first attempt, and at most after a later one; and how long a message is attempted.
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 1800.0
TRIED_FOR: Final = timedelta(days=1)

_SQL: Final = statements(__file__)
_TELL: Final = _SQL["tell_opened"]
_SKIP: Final = _SQL["skip_opened"]
_TELL_END: Final = _SQL["tell_recovered"]


def tell_opened(cursor: Any, kind: NotificationKind, severity: Severity, ids: Sequence[int]) -> None:
    """Write deliveries of new notifications for every channel they are routed to, inside the open transaction."""
    routed = [channel for channel in channels.configured() if settings.ZENITH_NOTIFY_ROUTES[channel].takes(kind, severity)]
    if ids and routed:
        cursor.execute(_TELL, [list(ids), routed])


def tell_recovered(cursor: Any, ids: Sequence[int]) -> None:
    """Write deliveries of the end of notifications wherever their beginning was sent, inside the open transaction."""
    skip(cursor, ids)
    if ids:
        cursor.execute(_TELL_END, [list(ids)])


def skip(cursor: Any, ids: Sequence[int]) -> None:
    """Skip the deliveries of beginnings that were not attempted yet."""
    if ids:
        cursor.execute(_SKIP, [list(ids)])


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that this engine has claimed and sends now."""

    channel: Channel
    message: OutgoingMessage
    attempt: int


def run(stop: threading.Event) -> None:
    """Send due messages until `stop` is set."""
    repeat(stop, "outbox", send_next, every=LOOK_EVERY)


def send_next() -> bool:
    """Send one due message; return whether there was one."""
    claimed = claim()
    if claimed is None:
        return False
    try:
        channels.send(claimed.channel, claimed.message)
    except SendError as error:
        record_outcome(claimed, error)
    except Exception as error:
        # A bug in the channel: tried again later, as if the receiver had failed.
        faults.record_fault("outbox", error, f"a message by {claimed.channel.label}")
        record_outcome(claimed, SendError(f"{type(error).__name__}: {error}"))
    else:
        record_outcome(claimed)
    refresh_pages("notifications")
    return True


def claim() -> ClaimedMessage | None:
    """Claim the message that has been due for longest; None if nothing is due."""
    if not _waiting().exists():
        return None
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.OUTBOX])
        _waiting().exclude(channel__in=channels.configured()).update(
            state=DeliveryState.SKIPPED, error="This channel is not configured."
        )
        while (first := _due().order_by("due_at", "id").first()) is not None:
            if first.message is None and first.step == Step.OPENED and _hold_back(first):
                continue
            return _take(first)
    return None


def record_outcome(claimed: ClaimedMessage, error: SendError | None = None) -> None:
    """Record whether a message was accepted."""
    rows = _waiting().filter(channel=claimed.channel, message=claimed.message.id)
    if error is None:
        rows.update(state=DeliveryState.SENT, sent_at=Now(), error="")
        return
    logger.warning("%s did not accept a notification (attempt %s): %s", claimed.channel.label, claimed.attempt, error)
    # If another engine has taken over meanwhile, its attempt counts.
    own_rows = rows.filter(attempts=claimed.attempt)
    pause = timedelta(seconds=pause_after(claimed.attempt, error.retry_after))
    own_rows.filter(begun_at__lt=Now() - TRIED_FOR).update(state=DeliveryState.GIVEN_UP, error=str(error)[:300])
    own_rows.update(due_at=Now() + pause, error=str(error)[:300])


def pause_after(attempt: int, retry_after: float | None = None) -> float:
    """Return the seconds until the next attempt; the receiver's own `Retry-After` counts up to an hour."""
    pause = min(FIRST_PAUSE * 2.0 ** min(attempt - 1, 20), LONGEST_PAUSE)
    return max(pause, min(retry_after or 0.0, 3600.0))


def _waiting() -> QuerySet[Delivery]:
    return Delivery.objects.filter(state=DeliveryState.WAITING)


def _due() -> QuerySet[Delivery]:
    """Return what may be sent now: an end only after its beginning, which may still be waiting."""
    beginning = _waiting().filter(notification=OuterRef("notification"), channel=OuterRef("channel"), step=Step.OPENED)
    due = _waiting().filter(due_at__lte=Now()).exclude(Q(step=Step.RECOVERED) & Exists(beginning))
    return due.select_related("notification")


def _hold_back(first: Delivery) -> bool:
    """Delay all deliveries like this one if the throttle requires it; return whether it does."""
    kind = first.notification.kind
    alike = Delivery.objects.filter(channel=first.channel, notification__kind=kind, step=Step.OPENED)
    span = timedelta(seconds=settings.ZENITH_NOTIFY_THROTTLE.of(kind))
    last = alike.filter(begun_at__gt=Now() - span).aggregate(at=Max("begun_at"))["at"]
    if last is None:
        return False
    throttled = alike.filter(state=DeliveryState.WAITING, message=None).values("id")
    return bool(Delivery.objects.filter(id__in=throttled).update(due_at=last + span))


def _take(first: Delivery) -> ClaimedMessage:
    alike = _due().filter(
        channel=first.channel, step=first.step, message=first.message, notification__kind=first.notification.kind
    )
    deliveries = list(alike.order_by("id")[:MAX_NOTIFICATIONS])
    message = first.message or uuid4()
    Delivery.objects.filter(id__in=[delivery.id for delivery in deliveries]).update(
        message=message, begun_at=Coalesce("begun_at", Now()), attempts=F("attempts") + 1, due_at=Now() + LEASE
    )
    notifications = [delivery.notification for delivery in deliveries]
    return ClaimedMessage(Channel(first.channel), OutgoingMessage(message, first.step, notifications), first.attempts + 1)
