"""Where the spans of a trace begin and end, for code that does not know whether anybody traces.

Nothing happens, and nothing is imported, until `set_tracer` is called.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

Kind = Literal["server", "producer", "consumer", "internal"]
Attribute = str | int | float | bool


class Tracer(Protocol):
    """What makes spans."""

    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute], parent: Mapping[str, str] | None
    ) -> AbstractContextManager[None]:
        """Return a span for the time of a block; an exception that leaves the block is noted in it."""

    def carried(self) -> dict[str, str]:
        """Return the headers that carry the current span on."""


_tracer: Tracer | None = None


def set_tracer(tracer: Tracer | None) -> None:
    """Take the tracer of this process; called once at start."""
    global _tracer
    _tracer = tracer


@contextmanager
def span(
    name: str, kind: Kind = "internal", *, parent: Mapping[str, str] | None = None, **attributes: Attribute
) -> Iterator[None]:
    """Trace a block. `parent` are headers that carry a span of another process; in names, `__` stands for a dot."""
    if _tracer is None:
        yield
        return
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    with _tracer.span(name, kind, named, parent):
        yield


def carried() -> dict[str, str]:
    """Return the headers that carry the current span on; none where nobody traces."""
    return _tracer.carried() if _tracer else {}
