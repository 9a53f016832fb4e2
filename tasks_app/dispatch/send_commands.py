"""Build the command with which another application's worker is asked to send a task (zenith_worker/wire/commands.py).

The worker's own Celery app publishes the message, so only what somebody asked for is in the command: routes, defaults and headers
are the application's.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from tasks_app.dispatch.message import TaskRow
from zenith_worker.wire.extras import HEADERS
from zenith_worker.wire.headers import MAX_RETRIES_HEADER
from zenith_worker.wire.queue_names import why_malformed

#: The options of `apply_async` for what follows a task, by its name in a message.
_FOLLOWS: Final = {"callbacks": "link", "errbacks": "link_error", "chain": "chain"}


def asking_for(*, queue: str | None = None, max_retries: int | None = None) -> dict[str, Any] | None:
    """Return the extras (models/message.py) of a task for which its application's own routes or retries do not count.

    None if both do.
    """
    asked = {name: value for name, value in (("queue", queue or None), ("max_retries", max_retries)) if value is not None}
    return {"headers": {}, "embed": {}, **asked} if asked else None


def asked_queue(extras: Mapping[str, Any]) -> str | None:
    """Return the queue that was asked for. The row's own is only where the task is expected to go, or went."""
    queue = extras.get("queue")
    return queue if isinstance(queue, str) and not why_malformed(queue) else None


def _asked_retries(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header with the retries that were asked for, which workers with the guard `retries` count."""
    retries = extras.get("max_retries")
    return {MAX_RETRIES_HEADER: retries} if type(retries) is int and retries >= 0 else {}


def send_command(row: TaskRow) -> dict[str, Any]:
    """Return the body of the command that sends a task."""
    # Extras of tasks that the application sent itself are as it reported them.
    extras = json.loads(row.extras) if row.extras else {}
    hidden = isinstance(extras.get("args"), list) and isinstance(extras.get("kwargs"), dict)
    args, kwargs = (extras["args"], extras["kwargs"]) if hidden else (json.loads(row.args), json.loads(row.kwargs))
    options = {**_carried(extras), **_asked(row, extras)}
    return {
        "id": row.task_id, "task": row.name, "args": args, "kwargs": kwargs,
        "options": {name: value for name, value in options.items() if value is not None},
    }  # fmt: skip


def _asked(row: TaskRow, extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the dispatch asked for."""
    asked = {
        "queue": asked_queue(extras), "priority": row.priority, "expires": row.expires_at and row.expires_at.isoformat(),
        "time_limit": row.time_limit, "soft_time_limit": row.soft_time_limit,
    }  # fmt: skip
    return {name: value for name, value in asked.items() if value is not None}


def _carried(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the message of the task carried in whose place this one is sent."""
    headers, embed = _object(extras.get("headers")), _object(extras.get("embed"))
    hard, soft = _limits(headers.get("timelimit"))
    own = {name: value for name, value in headers.items() if name not in HEADERS}
    return {
        **{option: embed[name] for name, option in _FOLLOWS.items() if embed.get(name)},
        "headers": {**own, **_asked_retries(extras)} or None,
        "ignore_result": True if headers.get("ignore_result") is True else None,
        "shadow": shadow if isinstance(shadow := headers.get("shadow"), str) else None,
        "time_limit": hard,
        "soft_time_limit": soft,
    }


def _limits(value: Any) -> tuple[float | None, float | None]:
    """Return the limits of Celery's header `timelimit`, the hard one first."""
    if not (isinstance(value, list) and len(value) == 2):
        return None, None
    hard, soft = (item if isinstance(item, int | float) else None for item in value)
    return hard, soft


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
