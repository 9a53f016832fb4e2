"""What goes out: written with the notification, sent by whichever engine claims it, at least once.

1. `tell_opened` and `tell_recovered` write deliveries in the transaction that changes the notification. What was never tried is
   not told any more once its condition is over; an end is told wherever the beginning was.
2. `claim` takes what is due: deliveries of one channel, kind and step go out in one message, whose id they keep. Claims are made
   one at a time, under an advisory lock; a claim lasts LEASE seconds, after which another engine tries again.
3. `settle` notes what came of it. A receiver that is away is tried again with growing pauses (`pause_after`) for a day.

The throttle holds back the second message of a kind, and lets all that came meanwhile go out as one.
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

#: Seconds between two looks for what is due.
LOOK_EVERY: Final = 2.0
#: Seconds after which a message whose engine said nothing is tried again; a receiver's timeouts end long before.
LEASE: Final = timedelta(seconds=120)
#: Notifications that one message takes at most.
MOST_TOLD: Final = 500
#: Seconds after the first and at most after any further attempt, and for how long a message is tried.
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 1800.0
TRIED_FOR: Final = timedelta(days=1)

_SQL: Final = statements(__file__)
_TELL: Final = _SQL["tell_opened"]
_SKIP: Final = _SQL["skip_opened"]
_TELL_END: Final = _SQL["tell_recovered"]


def tell_opened(cursor: Any, kind: NotificationKind, severity: Severity, ids: Sequence[int]) -> None:
    """Have new notifications told through every channel that takes them, inside the open transaction."""
    wanted = [channel for channel in channels.configured() if settings.ZENITH_NOTIFY_ROUTES[channel].takes(kind, severity)]
    if ids and wanted:
        cursor.execute(_TELL, [list(ids), wanted])


def tell_recovered(cursor: Any, ids: Sequence[int]) -> None:
    """Have the end of notifications told where their beginning was, inside the open transaction."""
    skip(cursor, ids)
    if ids:
        cursor.execute(_TELL_END, [list(ids)])


def skip(cursor: Any, ids: Sequence[int]) -> None:
    """Tell nobody any more of notifications whose beginning was not tried yet."""
    if ids:
        cursor.execute(_SKIP, [list(ids)])


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that this engine is to send now."""

    channel: Channel
    message: OutgoingMessage
    attempt: int


def run(stop: threading.Event) -> None:
    """Send what is due until `stop` is set."""
    repeat(stop, "outbox", send_next, every=LOOK_EVERY)


def send_next() -> bool:
    """Send one message that is due; return whether there was one."""
    claimed = claim()
    if claimed is None:
        return False
    try:
        channels.send(claimed.channel, claimed.message)
    except SendError as error:
        record_outcome(claimed, error)
    except Exception as error:
        # A channel's own fault: tried again later, as if the receiver had failed.
        faults.record_fault("outbox", error, f"a message by {claimed.channel.label}")
        record_outcome(claimed, SendError(f"{type(error).__name__}: {error}"))
    else:
        record_outcome(claimed)
    refresh_pages("notifications")
    return True


def claim() -> ClaimedMessage | None:
    """Take the message that has been due for longest; None where nothing is due."""
    if not _waiting().exists():
        return None
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.OUTBOX])
        _waiting().exclude(channel__in=channels.configured()).update(
            state=DeliveryState.SKIPPED, error="This channel is not set."
        )
        while (first := _due().order_by("due_at", "id").first()) is not None:
            if first.message is None and first.step == Step.OPENED and _hold_back(first):
                continue
            return _take(first)
    return None


def record_outcome(claimed: ClaimedMessage, error: SendError | None = None) -> None:
    """Note what came of a message."""
    rows = _waiting().filter(channel=claimed.channel, message=claimed.message.id)
    if error is None:
        rows.update(state=DeliveryState.SENT, sent_at=Now(), error="")
        return
    logger.warning("%s did not take a notification (attempt %s): %s", claimed.channel.label, claimed.attempt, error)
    # Where another engine took over meanwhile, its attempt counts.
    mine = rows.filter(attempts=claimed.attempt)
    pause = timedelta(seconds=pause_after(claimed.attempt, error.retry_after))
    mine.filter(begun_at__lt=Now() - TRIED_FOR).update(state=DeliveryState.GIVEN_UP, error=str(error)[:300])
    mine.update(due_at=Now() + pause, error=str(error)[:300])


def pause_after(attempt: int, retry_after: float | None = None) -> float:
    """Return for how many seconds a receiver is left alone after so many attempts; its own wish counts up to an hour."""
    pause = min(FIRST_PAUSE * 2.0 ** min(attempt - 1, 20), LONGEST_PAUSE)
    return max(pause, min(retry_after or 0.0, 3600.0))


def _waiting() -> QuerySet[Delivery]:
    return Delivery.objects.filter(state=DeliveryState.WAITING)


def _due() -> QuerySet[Delivery]:
    """Return what may be sent now; an end only after its beginning, which may still be on its way."""
    beginning = _waiting().filter(notification=OuterRef("notification"), channel=OuterRef("channel"), step=Step.OPENED)
    due = _waiting().filter(due_at__lte=Now()).exclude(Q(step=Step.RECOVERED) & Exists(beginning))
    return due.select_related("notification")


def _hold_back(first: Delivery) -> bool:
    """Let the deliveries like this one wait for the throttle; return whether they have to."""
    kind = first.notification.kind
    alike = Delivery.objects.filter(channel=first.channel, notification__kind=kind, step=Step.OPENED)
    span = timedelta(seconds=settings.ZENITH_NOTIFY_THROTTLE.of(kind))
    last = alike.filter(begun_at__gt=Now() - span).aggregate(at=Max("begun_at"))["at"]
    if last is None:
        return False
    held = alike.filter(state=DeliveryState.WAITING, message=None).values("id")
    return bool(Delivery.objects.filter(id__in=held).update(due_at=last + span))


def _take(first: Delivery) -> ClaimedMessage:
    alike = _due().filter(
        channel=first.channel, step=first.step, message=first.message, notification__kind=first.notification.kind
    )
    taken = list(alike.order_by("id")[:MOST_TOLD])
    message = first.message or uuid4()
    Delivery.objects.filter(id__in=[delivery.id for delivery in taken]).update(
        message=message, begun_at=Coalesce("begun_at", Now()), attempts=F("attempts") + 1, due_at=Now() + LEASE
    )
    told = [delivery.notification for delivery in taken]
    return ClaimedMessage(Channel(first.channel), OutgoingMessage(message, first.step, told), first.attempts + 1)
