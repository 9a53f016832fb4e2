"""Clears lost workers from the list, before they expire by themselves (heartbeat.KEPT).

What the reconciler needs stays: a worker cannot be cleared before its messages were given to others, and the key that keeps its
run alive is not touched. A worker whose heartbeats resume reappears.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zenith_worker.wire.client import client, load, script, text
from zenith_worker.wire.compat import StrEnum
from zenith_worker.wire.heartbeat import DEAD_AFTER, KEPT
from zenith_worker.wire.keys import CLEARED, TAKEN, WORKER, WORKERS

_CLEAR: Final = load("worker_clear")


class Clearing(StrEnum):
    """The result: CLEARED, or why not."""

    CLEARED = "cleared"
    #: There is no worker of this name.
    UNKNOWN = "unknown"
    #: Its last heartbeat is newer than DEAD_AFTER.
    BEATING = "beating"
    #: The reconciler has not given its tasks to others yet.
    HOLDING = "holding"


def clear(name: str, by: str) -> Clearing:
    """Remove a dead worker from the list, and record who did it. Raises redis.RedisError."""
    arguments = (WORKER + name, int(KEPT * 1000), int(DEAD_AFTER * 1000), TAKEN, CLEARED + name, by)
    return Clearing(text(script(_CLEAR, WORKERS, name, *arguments)))


def cleared_by(names: Iterable[str]) -> dict[str, str]:
    """Return who cleared these workers, for those that were cleared. Raises redis.RedisError.

    This is kept as long as a heartbeat: a worker that came back since, died and was forgotten is never among them.
    """
    sorted_names = sorted(names)
    cleared = client().mget([CLEARED + name for name in sorted_names]) if sorted_names else []
    return {name: text(by) for name, by in zip(sorted_names, cleared) if by is not None}
