"""What has been so at every look for some time: a single look may come at a bad moment."""

import time
from collections.abc import Callable, Iterable
from typing import Any


class Debounce:
    """Since when something has been seen at every look.

    A look that comes more than `late` seconds after the one before says nothing about the time between, and begins anew.
    """

    def __init__(self, late: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._late = late
        self._clock = clock
        self._since: dict[Any, float] = {}
        self._looked = 0.0

    def update(self, seen: Iterable[tuple[Any, float]]) -> list[tuple[Any, float]]:
        """Take what is seen now, each with the seconds it has to last; return what has lasted."""
        now = self._clock()
        late = now - self._looked > self._late
        before, self._looked = ({} if late else self._since), now
        pairs = list(seen)
        self._since = {key: before.get(key, now) for key, _ in pairs}
        return [(key, seconds) for key, seconds in pairs if now - self._since[key] >= seconds]
