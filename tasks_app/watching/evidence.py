"""What follows from when and how a worker's events arrive: whether it sends those of tasks, and how far its clock is ahead.

- A heartbeat counts the tasks that its worker has begun. If that rises and no event of a task arrives, the worker sends none.
- The time in a heartbeat tells the clock only if the heartbeat did not wait on its way. If the observer had nothing to read for
  a moment before it arrived, nothing was waiting.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

#: Seconds after which a worker that has been heard was asked to send events.
ASKED_AFTER: Final = 20.0
#: Seconds by which events of tasks may come later than the heartbeat that counts them: workers send them together.
LATEST: Final = 10.0
#: Heartbeats of which the clock is judged, at least and at most, and seconds for which they count.
SAMPLES_LEAST: Final = 2
SAMPLES_KEPT: Final = 5
SAMPLES_FOR: Final = 120.0
#: Seconds between two heartbeats beyond which some were not heard, and with them other events.
GAP: Final = 15.0


@dataclass(slots=True)
class Evidence:
    """Of one run of a worker. Times are Unix time in seconds, by the observer's clock.

    Attributes:
        since: when it was first heard.
        task_at: when an event of a task arrived last.
        silent_since: when a heartbeat counted a task of which no event had arrived.
    """

    since: float
    task_at: float | None = None
    silent_since: float | None = None
    _heartbeat: tuple[float, int] | None = None
    _clock: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=SAMPLES_KEPT))

    def take_task(self, received: float) -> None:
        """Take in that an event of a task arrived."""
        self.task_at, self.silent_since = received, None

    def take_heartbeat(self, received: float, processed: int | None, timestamp: float, *, waited: bool) -> None:
        """Take in a heartbeat; `waited`: it may have waited on its way."""
        if not waited and math.isfinite(timestamp):
            self._clock.append((received, timestamp - received))
        before, self._heartbeat = self._heartbeat, None if processed is None else (received, processed)
        if before is None or processed is None or received - before[0] > GAP or received - self.since < ASKED_AFTER:
            return
        is_told = self.task_at is not None and self.task_at > before[0] - LATEST
        if processed > before[1] and not is_told and self.silent_since is None:
            self.silent_since = received

    def sends_events(self, now: float) -> bool | None:
        """Return whether the worker sends events of tasks; None if there was no task by which that could be seen."""
        if self.silent_since is not None and now - self.silent_since > LATEST:
            return False
        return True if self.task_at is not None else None

    def clock_ahead(self, now: float) -> float | None:
        """Return how many seconds the worker's clock is ahead, by the heartbeat that was quickest; None if that is not known."""
        found = [ahead for at, ahead in self._clock if now - at < SAMPLES_FOR]
        return max(found) if len(found) >= SAMPLES_LEAST else None
