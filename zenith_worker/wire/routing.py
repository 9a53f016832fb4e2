"""A message's queue and priority, as Celery and kombu decide them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celery import Celery

#: The range of priorities of kombu's Redis transport; the lowest number is taken first.
HIGHEST_PRIORITY: Final = 0
LOWEST_PRIORITY: Final = 9


def queue_of(app: Celery, name: str, options: Mapping[str, Any]) -> str:
    """Return the queue that Celery's routing chooses for a task that is sent with these options."""
    queue = app.amqp.router.route(dict(options), name)["queue"]
    return str(getattr(queue, "name", queue))


def priority_of(value: Any) -> int | None:
    """Return a priority as kombu reads it: a number, also as text, limited to 0 to 9; 0 if it is not a number; None for None."""
    try:
        return None if value is None else max(HIGHEST_PRIORITY, min(int(value), LOWEST_PRIORITY))
    except (TypeError, ValueError, OverflowError):
        return 0
