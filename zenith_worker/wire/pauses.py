"""The paused queues: PostgreSQL has them, and Redis a copy for the workers, which do not query the database.

tasks_app/maintenance/pauses.py writes the copy.
"""

from __future__ import annotations

from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import PAUSED


def read() -> frozenset[str]:
    """Return the names of the paused queues from Redis. Raises redis.RedisError."""
    return frozenset(text(name) for name in client().smembers(PAUSED))
