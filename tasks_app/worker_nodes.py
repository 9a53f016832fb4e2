"""Where workers run: whoever makes workers registers what it knows of them, which the pages of tasks and workers show."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
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


#: Given names of workers, returns the nodes of those that it made, by the worker's name. May raise django.db.Error.
Source = Callable[[Iterable[str]], dict[str, NodeSeen]]
_SOURCES: Final[list[Source]] = []


def register(source: Source) -> None:
    """Have a source asked."""
    if source not in _SOURCES:
        _SOURCES.append(source)


def of_workers(names: Iterable[str]) -> dict[str, NodeSeen]:
    """Return the nodes of these workers by the worker's name; a worker that runs in none is left out. Raises django.db.Error."""
    wanted = list(names)
    return {name: node for source in _SOURCES for name, node in source(wanted).items()}
