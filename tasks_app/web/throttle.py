"""Limit how often a socket sends: at once after a pause, and a few times a second under load."""

import asyncio
import time


class Throttle:
    """A token bucket: `burst` frames at once, then `rate` a second.

    The first change to a quiet page arrives without delay, and so do the next few, since most tasks take several
    quick steps. A burst of thousands of tasks still makes few frames.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = time.monotonic()

    async def wait(self) -> None:
        """Wait until one more frame may be sent, and take its token."""
        self._refill()
        if self._tokens < 1:
            await asyncio.sleep((1 - self._tokens) / self._rate)
            self._refill()
        self._tokens -= 1

    def _refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
