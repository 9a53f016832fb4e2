"""The name of this run of a worker."""

from typing import Final
from uuid import uuid4

# Made at import, before the pool forks: a worker's children share its name.
_INSTANCE: Final = uuid4().hex


def instance() -> str:
    """Return the name of this run of this worker: never used again, unlike its host name."""
    return _INSTANCE
