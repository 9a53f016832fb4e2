"""The nodes that workers run in, for the pages of tasks and workers; the apps that create workers register sources for them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """The node that a worker runs in.

    Attributes:
        death: how its container last ended by itself, in a few words, such as `out of memory (137)`.
        log_tail: the last log lines of a container that has ended, masked.
    """

    id: UUID
    name: str
    host: str
    status: str
    sentence: str
    death: str
    died_at: datetime | None
    log_tail: str


#: Returns, given names of workers, the nodes of those that it created, by the worker's name. May raise django.db.Error.
Source = Callable[[Iterable[str]], dict[str, NodeSeen]]
_SOURCES: Final[list[Source]] = []


def register(source: Source) -> None:
    """Register a source of nodes."""
    if source not in _SOURCES:
        _SOURCES.append(source)


def of_workers(names: Iterable[str]) -> dict[str, NodeSeen]:
    """Return the nodes of these workers by the worker's name; workers without a node are left out. Raises django.db.Error."""
    worker_names = list(names)
    return {name: node for source in _SOURCES for name, node in source(worker_names).items()}
