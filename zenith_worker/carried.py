"""What a worker knows of one delivery of a task, carried on Celery's request.

The worker's main process stamps the message's headers, which go to the pool's child as they are; everything else is kept on
the request object, on the main process's `Request` or on the `Context` that the task sees.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from zenith_worker.wire.headers import DELIVERY_HEADER, RECEIVED_HEADER
from zenith_worker.wire.states import Status

_CARRIED: Final = "zenith_carried"


@dataclass(slots=True)
class Carried:
    """One delivery of a task. Times are Unix time in seconds.

    Attributes:
        received_at: when this worker received the message.
        number: how often the message of the same attempt had been delivered before.
        started_at: when the body began.
        started_clock: the same by a steady clock.
        retry_at: when the next attempt is due.
        held: the next attempt waits in PostgreSQL; no message was sent for it.
        minded: the task is of Zenith's class, which notes the two below.
        next_sent: the message of the next attempt was sent.
        gave_up: the body asked for another attempt and was refused, since there were enough.
        told: the state and its meta that the body itself stored last, by `update_state`.
        reported: the newest step that the main process reported.
    """

    received_at: float | None = None
    number: int = 0
    started_at: float | None = None
    started_clock: float | None = None
    retry_at: float | None = None
    held: bool = False
    minded: bool = False
    next_sent: bool = False
    gave_up: bool = False
    told: tuple[str, Any] | None = None
    reported: Status | None = None

    @property
    def runtime(self) -> float | None:
        """Seconds since the body began; None if it did not."""
        return None if self.started_clock is None else time.monotonic() - self.started_clock

    def start(self) -> None:
        """Note that the body begins now."""
        self.started_at, self.started_clock = time.time(), time.monotonic()


def stamp(headers: dict[str, Any], number: int) -> None:
    """Write into a message's headers that it was received now, and which delivery it is."""
    headers[RECEIVED_HEADER], headers[DELIVERY_HEADER] = time.time(), number


def carried(request: Any) -> Carried:
    """Return what a request carries; `request` is a worker's Request, the Context that its task sees, or None for nothing."""
    if request is None:
        return Carried()
    found: Carried | None = getattr(request, _CARRIED, None)
    if found is None:
        headers = getattr(request, "request_dict", None) or vars(request)
        found = Carried(headers.get(RECEIVED_HEADER), headers.get(DELIVERY_HEADER) or 0)
        setattr(request, _CARRIED, found)
    return found
