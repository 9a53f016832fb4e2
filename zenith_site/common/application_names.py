"""The names of the applications, to choose from. An app has their table, and registers here the function that reads it."""

from collections.abc import Callable

from zenith_worker.wire.applications import NATIVE_NAME

_readers: list[Callable[[], list[str]]] = []


def register_names(read: Callable[[], list[str]]) -> None:
    """Have the names of the applications read by this function."""
    _readers[:] = [read]


def application_names() -> list[str]:
    """Return the names of all applications, Zenith's own first. Raises django.db.Error."""
    return [name for read in _readers for name in read()] or [NATIVE_NAME]
