"""The guards by name, and which ones the workers of an application tell in their heartbeats (zenith_worker/guards.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from zenith_worker.wire.heartbeat import WorkerBeat

CLAIMS: Final = "claims"
CLAIMS_CLOSED: Final = "claims:closed"
RECOVERY: Final = "recovery"
RETRIES: Final = "retries"
#: Every name, in the order in which they are told.
NAMES: Final = (CLAIMS, CLAIMS_CLOSED, RECOVERY, RETRIES)


class LiveGuards(NamedTuple):
    """The guards of an application's workers online, in the order of NAMES.

    Attributes:
        workers: how many workers are online. Without one, its guards are not known.
        shared: what each of them has.
        partial: what only some of them have.
        claims: whether each of them claims tasks, whatever it does while Zenith's Redis is away.
    """

    workers: int
    shared: tuple[str, ...]
    partial: tuple[str, ...]
    claims: bool


def of_workers(workers: Iterable[WorkerBeat]) -> LiveGuards:
    """Return the guards of these workers of an application; names that this release does not know are left out."""
    told: list[set[str]] = [{name for name in NAMES if name in worker.guards} for worker in workers if worker.online]
    shared = set.intersection(*told) if told else set()
    partial = set().union(*told) - shared
    claims = bool(told) and all(guards & {CLAIMS, CLAIMS_CLOSED} for guards in told)
    return LiveGuards(len(told), _ordered(shared), _ordered(partial), claims)


def _ordered(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in NAMES if name in names)
