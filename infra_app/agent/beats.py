"""The workers' heartbeats, read at most twice a second however many nodes ask."""

import threading
import time
from typing import Final

from infra_app import work
from infra_app.work import Beat

#: Seconds for which an answer is used again.
FRESH: Final = 0.4


class Beats:
    """What workers last told of themselves. Raises redis.RedisError where Redis is away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._beats: dict[str, Beat] = {}

    def of(self, worker: str) -> Beat | None:
        """Return a worker's newest heartbeat; None where it was not heard of lately."""
        return self.all().get(worker)

    def all(self) -> dict[str, Beat]:
        """Return the newest heartbeats of all, by the worker's name."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH:
                self._beats = work.beats()
                self._read_at = time.monotonic()
            return self._beats
