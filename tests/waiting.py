"""Waiting for what another process does: by looking again and again, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_EVERY = 0.03


def eventually(
    condition: Callable[[], T], *, within: float = 20.0, but: Callable[[], object] | None = None, every: float = LOOK_EVERY
) -> T:
    """Return what `condition` returns once that is true.

    Looks every `every` seconds. Fails after `within` seconds, and says what `but` returns then.
    """
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s; instead: {but() if but else value!r}")
        time.sleep(every)
