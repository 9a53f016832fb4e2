"""When a failed attempt runs again: a decision as a value, made by a pure function.

Exponential back-off with full jitter, after Marc Brooker, "Exponential Backoff And Jitter",
AWS Architecture Blog, 2015: the delay is drawn uniformly from zero to the capped exponential.
"""

from dataclasses import dataclass
from typing import Final

BASE_SECONDS: Final = 1.0
CAP_SECONDS: Final = 600.0


@dataclass(frozen=True)
class RunAgain:
    """Run the task again after `delay` seconds."""

    delay: float


@dataclass(frozen=True)
class GiveUp:
    """Do not run the task again; `reason` is a sentence for people."""

    reason: str


def decide(
    *, retries: int, max_retries: int, worth_retrying: bool, jitter: float
) -> RunAgain | GiveUp:
    """Decide what becomes of an attempt that raised.

    `retries` counts the retries already used, `max_retries` those allowed, `jitter` is a random
    number from 0 up to 1.
    """
    if not worth_retrying:
        return GiveUp("This error is not worth retrying.")
    if retries >= max_retries:
        return GiveUp(f"All {max_retries + 1} attempts failed.")
    return RunAgain(jitter * backoff_ceiling(retries))


def backoff_ceiling(retries: int) -> float:
    """Return the longest back-off in seconds before retry number `retries` + 1."""
    return float(min(CAP_SECONDS, BASE_SECONDS * 2 ** min(retries, 32)))
