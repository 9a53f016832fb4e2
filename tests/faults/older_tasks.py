"""The same tasks as an older release has them; a worker that was not restarted runs this one."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="faults.changed", retry_backoff_base=0.1, max_retries=1)
def changed(seconds: float = 0.0) -> str:
    """Take one argument."""
    return f"{seconds}"
