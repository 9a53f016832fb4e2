"""Tasks that do nothing, so that a worker's time is spent in Celery and in tracking."""

import logging
import time
from typing import Any

from celery import shared_task

NAME = "bench.noop"
#: Lines that `floods` logs.
FLOOD = 100_000
logger = logging.getLogger(__name__)


@shared_task(name=NAME)
def noop() -> None:
    """Do nothing."""


@shared_task(name="bench.tells")
def tells() -> None:
    """Log five lines."""
    for number in range(5):
        logger.info("Step %s of the order %s is done.", number, 4711)


@shared_task(name="bench.floods")
def floods() -> None:
    """Log many lines."""
    for number in range(FLOOD):
        logger.info("Row %s of the import is done.", number)


@shared_task(name="bench.stamp")
def stamp() -> float:
    """Return the time at the end of this body, in Unix seconds."""
    return time.time()


@shared_task(name="bench.total")
def total(results: list[Any]) -> int:
    """The body of a chord: return the number of results of its header."""
    return len(results)
