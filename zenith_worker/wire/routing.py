"""Where a message goes, as Celery and kombu decide it: its queue and its priority."""

from collections.abc import Mapping
from typing import Any, Final

from celery import Celery

#: The steps of kombu's Redis transport, from the first to be taken to the last.
HIGHEST_PRIORITY: Final = 0
LOWEST_PRIORITY: Final = 9


def queue_of(app: Celery, name: str, options: Mapping[str, Any]) -> str:
    """Return the queue that Celery's routing chooses for a task that is sent with these options."""
    queue = app.amqp.router.route(dict(options), name)["queue"]
    return str(getattr(queue, "name", queue))


def priority_of(value: Any) -> int | None:
    """Return a priority as kombu takes it: any number, also as text, within 0 to 9; 0 for what is no number; None for None."""
    try:
        return None if value is None else max(HIGHEST_PRIORITY, min(int(value), LOWEST_PRIORITY))
    except (TypeError, ValueError, OverflowError):
        return 0
