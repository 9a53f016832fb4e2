"""The outbox: deliveries are written with their notification, and sent at least once by an engine that claims them.

1. `tell_opened` and `tell_recovered` write deliveries in the transaction that changes the notification. A beginning that was
   never attempted is skipped once its condition is over; an end is sent wherever the beginning was.
2. `claim` takes what is due: deliveries of one channel, kind and step go out in one message, whose id they keep. Claims are made
   one at a time, under an advisory lock; after LEASE seconds another engine may claim the message again.
3. `record_outcome` stores the result. An unreachable receiver is tried again with a growing back-off (`pause_after`) for a day.
4. A test of a channel (`request_test`) goes the same way, since only an engine can read the address, but is tried once.

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
from zenith_site.notify.destinations import UnreadableAddressError, all_channels, find_destination
from zenith_site.notify.kinds import Channel
from zenith_site.notify.messages import OutgoingMessage
from zenith_site.notify.models import Delivery, DeliveryState, NotificationChannel, Step

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


def tell_opened(cursor: Any, pairs: Sequence[tuple[int, str]]) -> None:
    """Write deliveries of new notifications, as pairs of an id and a channel's key, inside the open transaction."""
    if pairs:
        cursor.execute(_TELL, [list(column) for column in zip(*pairs, strict=True)])


def tell_recovered(cursor: Any, ids: Sequence[int]) -> None:
    """Write deliveries of the end of notifications wherever their beginning was sent, inside the open transaction."""
    skip(cursor, ids)
    if ids:
        cursor.execute(_TELL_END, [list(ids)])


def skip(cursor: Any, ids: Sequence[int]) -> None:
    """Skip the deliveries of beginnings that were not attempted yet."""
    if ids:
        cursor.execute(_SKIP, [list(ids)])


def request_test(keys: Sequence[str]) -> int:
    """Have an engine send a test message through these channels now; return how many. A test that still waits is not repeated.

    A channel's test replaces its earlier ones.
    """
    with transaction.atomic():
        tests = Delivery.objects.filter(channel__in=keys, step=Step.TEST)
        waiting = set(tests.filter(state=DeliveryState.WAITING).values_list("channel", flat=True))
        new = [key for key in dict.fromkeys(keys) if key not in waiting]
        tests.filter(channel__in=new).delete()
        Delivery.objects.bulk_create(Delivery(channel=key, step=Step.TEST, created_at=Now(), due_at=Now()) for key in new)
    return len(new)


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that this engine has claimed and sends now; `channel` is the key of its channel."""

    channel: str
    message: OutgoingMessage
    attempt: int

    @property
    def label(self) -> str:
        """The channel for the log: its kind, or the key of one that was made on the page."""
        return Channel(self.channel).label if self.channel in list(Channel) else f"The channel {self.channel}"


def run(stop: threading.Event) -> None:
    """Send due messages until `stop` is set."""
    repeat(stop, "outbox", send_next, every=LOOK_EVERY)


def send_next() -> bool:
    """Send one due message; return whether there was one."""
    claimed = claim()
    if claimed is None:
        return False
    try:
        channels.send(find_destination(claimed.channel), claimed.message)
    except SendError as error:
        record_outcome(claimed, error)
    except (UnreadableAddressError, NotificationChannel.DoesNotExist) as error:
        record_outcome(claimed, SendError(str(error)))
    except Exception as error:
        # A bug in the channel: tried again later, as if the receiver had failed.
        faults.record_fault("outbox", error, f"a message by {claimed.label}")
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
        _waiting().exclude(channel__in=[channel.key for channel in all_channels()]).update(
            state=DeliveryState.SKIPPED, error="This channel is not configured any more."
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
    logger.warning("%s did not accept a notification (attempt %s): %s", claimed.label, claimed.attempt, error)
    # If another engine has taken over meanwhile, its attempt counts.
    own_rows = rows.filter(attempts=claimed.attempt)
    pause = timedelta(seconds=pause_after(claimed.attempt, error.retry_after))
    given_up = Q(begun_at__lt=Now() - TRIED_FOR) | Q(step=Step.TEST)
    own_rows.filter(given_up).update(state=DeliveryState.GIVEN_UP, error=str(error)[:300])
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
    kind = first.notification.kind if first.notification is not None else ""
    alike = Delivery.objects.filter(_like(first), step=Step.OPENED)
    span = timedelta(seconds=settings.ZENITH_NOTIFY_THROTTLE.of(kind))
    last = alike.filter(begun_at__gt=Now() - span).aggregate(at=Max("begun_at"))["at"]
    if last is None:
        return False
    throttled = alike.filter(state=DeliveryState.WAITING, message=None).values("id")
    return bool(Delivery.objects.filter(id__in=throttled).update(due_at=last + span))


def _take(first: Delivery) -> ClaimedMessage:
    alike = _due().filter(_like(first), step=first.step, message=first.message)
    deliveries = [first] if first.notification is None else list(alike.order_by("id")[:MAX_NOTIFICATIONS])
    message = first.message or uuid4()
    Delivery.objects.filter(id__in=[delivery.id for delivery in deliveries]).update(
        message=message, begun_at=Coalesce("begun_at", Now()), attempts=F("attempts") + 1, due_at=Now() + LEASE
    )
    notifications = [delivery.notification for delivery in deliveries if delivery.notification is not None]
    return ClaimedMessage(first.channel, OutgoingMessage(message, first.step, notifications), first.attempts + 1)


def _like(first: Delivery) -> Q:
    """Return the condition for what goes out in one message: of a kind there is one severity, but rules have their own."""
    if first.notification is None:
        return Q(pk=first.pk)
    same = {"kind": first.notification.kind, "severity": first.notification.severity}
    return Q(channel=first.channel, **{f"notification__{name}": value for name, value in same.items()})
