"""What tasks need to know of nodes, as a protocol: the apps do not import each other, so the site fills it in at start.

docs/decisions/0009 says why. `zenith_site/bridges.py` implements it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """The node that a worker runs in.

    Attributes:
        death: how its container ended by itself the last time, in a few words, such as `out of memory (137)`.
        log_tail: the last lines that a container wrote which has ended, masked.
    """

    id: UUID
    name: str
    host: str
    status: str
    sentence: str
    death: str
    died_at: datetime | None
    log_tail: str


class Nodes(Protocol):
    """Nodes, as far as tasks and workers need them. Each raises django.db.Error."""

    def of_workers(self, names: Iterable[str]) -> dict[str, NodeSeen]:
        """Return the nodes of these workers by the worker's name; a worker that runs in none is left out."""


class _Filled:
    nodes: Nodes | None = None


def fill(nodes: Nodes) -> None:
    """Take what the site provides; called once at start."""
    _Filled.nodes = nodes


def nodes() -> Nodes:
    """Return what the site provides."""
    if _Filled.nodes is None:
        raise RuntimeError("Nobody has called tasks_app.ports.fill(); the site does so at start.")
    return _Filled.nodes
