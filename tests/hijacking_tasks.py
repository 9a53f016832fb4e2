"""A module of tasks that makes a Celery application of its own, as many do: that becomes Celery's current one."""

from __future__ import annotations

from celery import Celery, shared_task

theirs = Celery("theirs", broker="memory://")


@shared_task(name="hijack.child")
def child(value: int) -> int:
    return value


@shared_task(name="hijack.parent")
def parent(value: int) -> str:
    return str(child.delay(value).id)


@theirs.task(name="hijack.elsewhere")
def elsewhere() -> None:
    """Run by their own workers only."""
