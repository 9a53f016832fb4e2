"""Decides when a failed attempt runs again: a pure function that returns the decision as a value.

Exponential back-off with full jitter, after Marc Brooker, "Exponential Backoff And Jitter",
AWS Architecture Blog, 2015: the delay is drawn uniformly from zero to the capped exponential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BASE_SECONDS: Final = 1.0
CAP_SECONDS: Final = 600.0
#: A longer back-off than this waits in PostgreSQL, where it survives the worker.
LONG_SECONDS: Final = 60.0


@dataclass(frozen=True)
class RunAgain:
    """Run the task again after `delay` seconds."""

    delay: float

    @property
    def is_long(self) -> bool:
        """Whether to wait in PostgreSQL, not in a worker's memory."""
        return self.delay > LONG_SECONDS


@dataclass(frozen=True)
class GiveUp:
    """Do not run the task again; `reason` is a sentence for people."""

    reason: str


def decide(
    *,
    retries: int,
    max_retries: int,
    worth_retrying: bool,
    jitter: float,
    base: float = BASE_SECONDS,
    cap: float = CAP_SECONDS,
) -> RunAgain | GiveUp:
    """Decide whether an attempt that raised is followed by another.

    `retries` counts the retries already used, `max_retries` those allowed, `jitter` is a random number from 0 up to 1; `base` and
    `cap` are the first and the longest back-off in seconds.
    """
    if not worth_retrying:
        return GiveUp("This error is not worth retrying.")
    if retries >= max_retries:
        return GiveUp(f"All {max_retries + 1} attempts failed.")
    return RunAgain(jitter * backoff_ceiling(retries, base, cap))


def backoff_ceiling(retries: int, base: float = BASE_SECONDS, cap: float = CAP_SECONDS) -> float:
    """Return the longest back-off in seconds before retry number `retries` + 1."""
    return float(min(cap, base * 2 ** min(retries, 32)))
