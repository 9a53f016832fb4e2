"""The name of this run of a worker."""

from __future__ import annotations

import os
from typing import Final
from uuid import uuid4

from billiard import current_process

#: The environment of a pool's children that are spawned, not forked: the worker's run and its process.
_TOLD: Final = "ZENITH_WORKER_RUN"


def _told() -> str:
    """Return the run of the worker that spawned this process for its pool; empty for any other process.

    Whatever else a worker starts inherits its environment as well, and may be a worker itself.
    """
    name, _, pid = os.environ.get(_TOLD, "").partition(":")
    return name if pid == str(os.getppid()) and current_process().name != "MainProcess" else ""


# Created at import, before the pool forks: a worker's children share its name.
_INSTANCE: Final = _told() or uuid4().hex


def instance() -> str:
    """Return the name of this run of this worker; unlike its host name, it is never reused."""
    return _INSTANCE


def tell_children() -> None:
    """Have children of this process that its pool will spawn share the name of this run."""
    os.environ[_TOLD] = f"{_INSTANCE}:{os.getpid()}"
