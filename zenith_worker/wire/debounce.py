"""Debouncing of observed conditions: one counts only after it has held for some time, since one observation may be unlucky."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any


class Debounce:
    """Remembers since when each condition has held without interruption.

    An update more than `late` seconds after the one before knows nothing about the time between, so it starts over.
    """

    def __init__(self, late: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._late = late
        self._clock = clock
        self._since: dict[Any, float] = {}
        self._updated_at = 0.0

    def update(self, conditions: Iterable[tuple[Any, float]]) -> list[tuple[Any, float]]:
        """Take the conditions that hold now, each with the seconds that it has to last; return those that have lasted."""
        now = self._clock()
        is_late = now - self._updated_at > self._late
        earlier, self._updated_at = ({} if is_late else self._since), now
        pairs = list(conditions)
        self._since = {key: earlier.get(key, now) for key, _ in pairs}
        return [(key, seconds) for key, seconds in pairs if now - self._since[key] >= seconds]
