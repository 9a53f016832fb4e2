"""The paused queues: PostgreSQL has them, and Redis a copy for the workers, which do not query the database.

tasks_app/maintenance/pauses.py writes the copies: one for Zenith's own workers, and one for each attached application.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

import redis

from zenith_worker.wire.client import client, text
from zenith_worker.wire.keys import NATIVE, PAUSED, application_keys

logger = logging.getLogger(__name__)

#: Characters of an application's copy that are read.
LARGEST: Final = 2**20


def read() -> frozenset[str]:
    """Return the paused queues of Zenith's own workers, by name. Raises redis.RedisError."""
    return frozenset(text(name) for name in client().smembers(PAUSED))


def read_of(application: str) -> frozenset[str] | None:
    """Return the paused queues of an attached application, or None if Redis does not know: it may have lost its data.

    Raises redis.RedisError.
    """
    raw: Any = client().get(application_keys(application).paused)
    try:
        names = json.loads(raw[:LARGEST]) if raw else None
    except (ValueError, RecursionError):
        return None
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else None


def write(paused: Mapping[str, Collection[str]]) -> None:
    """Write the paused queues of attached applications, by application, also of those that have none. Raises redis.RedisError."""
    if not paused:
        return
    with client().pipeline(transaction=False) as pipe:
        for application, names in paused.items():
            pipe.set(application_keys(application).paused, json.dumps(sorted(names)))
        pipe.execute()


class KnownPauses:
    """The paused queues of this process's application, as it last heard of them.

    While Redis is away, or has lost its data, they stay; a worker that starts at such a time knows of none.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        self.names: frozenset[str] = frozenset()

    def refresh(self) -> None:
        """Read them again. Raises redis.RedisError if Redis is away; a key that holds something else changes nothing."""
        try:
            found = read() if self._application == NATIVE else read_of(self._application)
        except redis.ResponseError as error:
            logger.debug("The paused queues cannot be read: %s", error)
            return
        self.names = self.names if found is None else found
