"""Tasks as a newer release has them: what only this release's processes know."""

from __future__ import annotations

from celery import shared_task

from tests.faults.tasks import NotYetError


@shared_task(name="faults.changed", retry_backoff_base=0.1, max_retries=1)
def changed(seconds: float = 0.0, unit: str = "s") -> str:
    """Take an argument that the older release does not know."""
    return f"{seconds} {unit}"


@shared_task(name="faults.added")
def added() -> None:
    """Be unknown to the older release."""
    raise NotYetError
