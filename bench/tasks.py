"""The task that does nothing: what is left of a worker's time is Celery's, and the tracking's."""

from celery import shared_task

NAME = "bench.noop"


@shared_task(name=NAME)
def noop() -> None:
    """Do nothing."""
