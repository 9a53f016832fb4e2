"""Clearing workers that are gone from the list, before they are forgotten by themselves (heartbeat.KEPT).

What the reconciler needs of one stays: a worker whose messages were not given to others yet cannot be cleared, and the key by
which its run counts as alive is not touched. One that beats again is simply there again.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from zenith_worker.wire.client import client, load, script, text
from zenith_worker.wire.heartbeat import DEAD_AFTER, KEPT
from zenith_worker.wire.keys import CLEARED, TAKEN, WORKER, WORKERS

_CLEAR: Final = load("worker_clear")


class Clearing(StrEnum):
    """What became of it: CLEARED, or why not."""

    CLEARED = "cleared"
    #: There is no worker of this name.
    UNKNOWN = "unknown"
    #: It was heard of within DEAD_AFTER.
    BEATING = "beating"
    #: Tasks that it had taken wait for the reconciler to give them to others.
    HOLDING = "holding"


def clear(name: str, by: str) -> Clearing:
    """Remove a dead worker from the list, noting who did it. Raises redis.RedisError."""
    arguments = (WORKER + name, int(KEPT * 1000), int(DEAD_AFTER * 1000), TAKEN, CLEARED + name, by)
    return Clearing(text(script(_CLEAR, WORKERS, name, *arguments)))


def cleared_by(names: Iterable[str]) -> dict[str, str]:
    """Return who cleared those of these workers that were cleared. Raises redis.RedisError.

    It is known for as long as a heartbeat is kept: a worker that came back since, died and was forgotten is never among them.
    """
    wanted = sorted(names)
    found = client().mget([CLEARED + name for name in wanted]) if wanted else []
    return {name: text(by) for name, by in zip(wanted, found, strict=True) if by is not None}
