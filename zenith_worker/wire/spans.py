"""Marks the spans of traces, for code that does not know whether tracing is enabled.

Nothing happens, and nothing is imported, until `set_tracer` is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol, Union

Kind = Literal["server", "producer", "consumer", "internal"]
Attribute = Union[str, int, float, bool]


class Tracer(Protocol):
    """Creates spans."""

    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute], parent: Mapping[str, str] | None
    ) -> AbstractContextManager[None]:
        """Return a span for the duration of a block; it records an exception that leaves the block."""

    def carried(self) -> dict[str, str]:
        """Return the headers of the current span."""


_tracer: Tracer | None = None


def set_tracer(tracer: Tracer | None) -> None:
    """Set the tracer of this process; called once at start."""
    global _tracer
    _tracer = tracer


@contextmanager
def span(
    name: str, kind: Kind = "internal", *, parent: Mapping[str, str] | None = None, **attributes: Attribute
) -> Iterator[None]:
    """Trace a block. `parent` has the headers of another process's span; `__` in a name stands for a dot."""
    if _tracer is None:
        yield
        return
    dotted = {key.replace("__", "."): value for key, value in attributes.items()}
    with _tracer.span(name, kind, dotted, parent):
        yield


def carried() -> dict[str, str]:
    """Return the headers of the current span; none if tracing is disabled."""
    return _tracer.carried() if _tracer else {}
