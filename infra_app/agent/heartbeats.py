"""A cache of the workers' heartbeats, so that Redis is read at most twice a second however many nodes ask."""

import threading
import time
from typing import Final

from infra_app import work
from infra_app.work import WorkerHeartbeat

#: Seconds for which a cached answer is valid.
FRESH: Final = 0.4


class HeartbeatCache:
    """The latest heartbeat of each worker. Every method raises redis.RedisError if Redis is unreachable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._heartbeats: dict[str, WorkerHeartbeat] = {}

    def of(self, worker: str) -> WorkerHeartbeat | None:
        """Return a worker's latest heartbeat; None if it sent none recently."""
        return self.all().get(worker)

    def all(self) -> dict[str, WorkerHeartbeat]:
        """Return the latest heartbeat of every worker, by name."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH:
                self._heartbeats = work.worker_heartbeats()
                self._read_at = time.monotonic()
            return self._heartbeats
