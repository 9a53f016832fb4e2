"""Bounds what checking one request's arguments takes: other applications wrote the schemas, and callers the values.

A schema has no references, so each schema inside it is applied to each part of a value at most once. The product of their sizes
bounds the time: a unit takes about two microseconds at worst. Values for which too little effort is left are accepted unchecked.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

#: The effort of one request: about two seconds at worst.
EFFORT_AT_MOST: Final = 1_000_000
#: What applying a schema costs, compared to comparing a value with a member of an `enum`.
_SCHEMA: Final = 10
#: Characters of a text that count like one more value: an error of jsonschema holds the representation of the value.
_CHARACTERS: Final = 1000


class Effort:
    """The effort that is left for one request."""

    def __init__(self, left: int = EFFORT_AT_MOST) -> None:
        self._left = left

    def allows(self, value: Any, weight: int) -> bool:
        """Whether a value can be checked by a schema of this weight; its cost is then taken off, else what the counting cost."""
        most = self._left // weight
        size = sum(1 for _ in islice(_parts(value), most + 1))
        self._left -= min(size, most) * (weight if size <= most else 1)
        return size <= most


def weight_of(schema: Any) -> int:
    """Return what applying a schema to one value costs at most."""
    if isinstance(schema, dict):
        return _SCHEMA + sum(weight_of(item) for item in schema.values())
    return 1 + sum(weight_of(item) for item in schema) if isinstance(schema, list) else 1


def _parts(value: Any) -> Iterator[None]:
    """Yield once for each value inside a value, for itself, and for each further stretch of a long text."""
    yield None
    if isinstance(value, str):
        yield from [None] * (len(value) // _CHARACTERS)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from [None] * (len(name) // _CHARACTERS)
            yield from _parts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
