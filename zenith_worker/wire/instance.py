"""The name of this run of a worker."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

# Created at import, before the pool forks: a worker's children share its name.
_INSTANCE: Final = uuid4().hex


def instance() -> str:
    """Return the name of this run of this worker; unlike its host name, it is never reused."""
    return _INSTANCE
