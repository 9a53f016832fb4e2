"""Tasks that do nothing, so that a worker's time is spent in Celery and in tracking."""

import time
from typing import Any

from celery import shared_task

NAME = "bench.noop"


@shared_task(name=NAME)
def noop() -> None:
    """Do nothing."""


@shared_task(name="bench.stamp")
def stamp() -> float:
    """Return the time at the end of this body, in Unix seconds."""
    return time.time()


@shared_task(name="bench.total")
def total(results: list[Any]) -> int:
    """The body of a chord: return the number of results of its header."""
    return len(results)
