"""Tasks that only workers have: the test process never imports them, so all it knows of them is what a worker told."""

from __future__ import annotations

from typing import Literal

from celery import Task, shared_task


@shared_task(name="advertised.ship", max_retries=2, soft_time_limit=40, time_limit=50)
def ship(order: int, speed: Literal["slow", "fast"] = "slow", *, password: str = "") -> list[object]:
    """Ship an order."""
    return [order, speed, len(password)]


@shared_task(name="advertised.limits", bind=True, time_limit=50)
def limits(self: Task) -> list[float | None]:
    """Return the time limits that this task's message has: the hard one first."""
    return list(self.request.timelimit)


@shared_task(name="advertised.break_down")
def break_down(part: str) -> None:
    """Fail."""
    raise ValueError(part)


@shared_task(name="advertised.drill", drill=True)
def drill() -> None:
    """Fail on purpose."""
