"""Which queues are paused. PostgreSQL knows; Redis has a copy for the workers, which ask no database.

tasks_app/maintenance/pauses.py writes the copy.
"""

from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import PAUSED


def read() -> frozenset[str]:
    """Return the names of the paused queues as Redis has them. Raises redis.RedisError."""
    return frozenset(text(name) for name in client().smembers(PAUSED))
