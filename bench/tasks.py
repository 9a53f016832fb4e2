"""Tasks that do nothing: what is left of a worker's time is Celery's, and the tracking's."""

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
    """Be the body of a chord: return how many results its header had."""
    return len(results)
