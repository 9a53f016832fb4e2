"""What the Overview shows: gathered once, for the page and for what its socket pushes."""

from typing import Any, Final

from tasks_app.insight.counters import WINDOW_NAME, counts
from tasks_app.models import Task
from tasks_app.tracking.heartbeat import read_all

STREAM_LENGTH: Final = 25


def overview_context() -> dict[str, Any]:
    """Return the context of overview/overview.html and overview/_frame.html.

    Raises django.db.Error or redis.RedisError.
    """
    workers = read_all()
    return {
        "workers": workers,
        "counts": counts(workers),
        "tasks": list(Task.objects.defer("args", "kwargs").order_by("-id")[:STREAM_LENGTH]),
        "window": WINDOW_NAME,
    }
