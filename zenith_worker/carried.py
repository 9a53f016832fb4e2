"""What a worker knows about one delivery of a task, carried on Celery's request.

The worker's main process stamps the message's headers, which the pool's child gets unchanged. Everything else is kept on the
request object: the main process's `Request`, or the `Context` that the task sees.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from typing import Any, Final

from zenith_worker import usage
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.headers import DELIVERY_HEADER, RECEIVED_HEADER
from zenith_worker.wire.states import Status

_CARRIED: Final = "zenith_carried"
#: Characters of a delivery tag that a claim holds as it is; kombu's have 36.
_TAG_KEPT: Final = 100


@dataclass(slots=True)
class Carried:
    """One delivery of a task. Times are Unix time in seconds.

    Attributes:
        received_at: when this worker received the message.
        number: how often the same attempt's message had been delivered before.
        started_at: when the body started.
        started_clock: the same on the monotonic clock.
        meter: measures what the body uses.
        retry_at: when the next attempt is due.
        held: whether the next attempt waits in PostgreSQL, without a message.
        is_zenith_task: whether the task is of Zenith's class, which sets the next two.
        next_sent: whether the next attempt's message was sent.
        gave_up: whether the body asked for another attempt and was refused, because there were enough.
        body_state: the state and its meta that the body itself stored last, with `update_state`.
        reported: the newest step that the main process reported.
        lease_until: on the monotonic clock, until when nobody can take over this delivery's claim; None without a claim.
        was_cancelled: whether the worker gave the task back because it lost its connection; Celery calls that a retry.
        was_put_back: whether the message goes back to its queue after a time limit; Celery calls that a failure.
        progress: the reports of how far tasks are, by their id, that the body told (progress_reports.py).
    """

    received_at: float | None = None
    number: int = 0
    started_at: float | None = None
    started_clock: float | None = None
    meter: usage.Meter | None = None
    retry_at: float | None = None
    held: bool = False
    is_zenith_task: bool = False
    next_sent: bool = False
    gave_up: bool = False
    body_state: tuple[str, Any] | None = None
    reported: Status | None = None
    lease_until: float | None = None
    was_cancelled: bool = False
    was_put_back: bool = False
    progress: dict[str, Any] | None = None

    @property
    def runtime(self) -> float | None:
        """Seconds since the body started; None if it has not."""
        return None if self.started_clock is None else time.monotonic() - self.started_clock

    @property
    def used(self) -> usage.Usage:
        """What the body has used so far."""
        return usage.Usage() if self.meter is None else self.meter.read()

    def start(self) -> None:
        """Record that the body starts now."""
        self.started_at, self.started_clock = time.time(), time.monotonic()
        self.meter = usage.begin()


def stamp(headers: dict[str, Any], number: int) -> None:
    """Write the time of receipt and the number of the delivery into a message's headers."""
    headers[RECEIVED_HEADER], headers[DELIVERY_HEADER] = time.time(), number


def carried(request: Any) -> Carried:
    """Return what a request carries; `request` is a worker's Request, the Context that its task sees, or None for nothing."""
    if request is None:
        return Carried()
    existing: Carried | None = getattr(request, _CARRIED, None)
    if existing is None:
        headers = getattr(request, "request_dict", None) or vars(request)
        existing = Carried(headers.get(RECEIVED_HEADER), headers.get(DELIVERY_HEADER) or 0)
        setattr(request, _CARRIED, existing)
    return existing


def token_of(request: Any) -> str:
    """Return the name of this delivery for its claim (wire/claims.py); `request` as for `carried`.

    A delivery tag alone is not enough: kombu's Redis transport keeps it when a message is delivered again, and RabbitMQ's
    channels count anew after each reconnection.
    """
    properties = getattr(request, "properties", None) or (getattr(request, "request_dict", None) or {}).get("properties") or {}
    return f"{_tag(properties.get('delivery_tag', ''))}@{carried(request).received_at or 0}"


def is_same_message(token: str, other: str) -> bool:
    """Return whether two deliveries may be of one message: one of them may acknowledge it for both."""
    return token.partition("@")[0] == other.partition("@")[0]


def _tag(value: Any) -> str:
    """Return a delivery tag as a claim can hold it: with Redis as broker, it is what the message's sender wrote."""
    tag = str(value)
    if len(tag) <= _TAG_KEPT and tag.isascii() and not {*"|@"} & {*tag}:
        return tag
    return hashlib.sha1(tag.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def due_at(when: Any) -> float:
    """Return the Unix time of a `Retry`'s due time, which is a time or a number of seconds from now."""
    return float(when.timestamp()) if isinstance(when, datetime) else time.time() + (when or 0)
