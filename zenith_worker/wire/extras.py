"""What a task's message carries besides name, queue, priority and arguments; it is stored, to be the same in a repeated message.

A task that other code sent may be followed by others (`link`, a chain), be part of a chord, expire, or have its own headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from zenith_worker.wire.headers import (
    BACKOFF_HEADER,
    COPIES_HEADER,
    DELIVERY_HEADER,
    DISPATCHED_HEADER,
    RECEIVED_HEADER,
    REFUSED_HEADER,
)  # fmt: skip

#: Celery's own headers (celery.app.amqp) that another message of the same task must have as well.
HEADERS: Final = (
    "expires", "group", "group_index", "ignore_result", "root_id", "shadow", "stamped_headers", "stamps", "timelimit",
    "replaced_task_nesting",
)  # fmt: skip
#: Headers that do not describe the task, or that the sender of a message creates anew.
_MADE_ANEW: Final = frozenset({
    "argsrepr", "eta", "id", "kwargsrepr", "lang", "origin", "parent_id", "redelivered", "retries", "task",
    # Zenith's own, except those of a task's origin.
    DISPATCHED_HEADER, BACKOFF_HEADER, COPIES_HEADER, DELIVERY_HEADER, RECEIVED_HEADER, REFUSED_HEADER,
})  # fmt: skip
#: What follows a task: the third part of a message's body.
EMBEDDED: Final = ("callbacks", "chain", "chord", "errbacks")
#: The options that freezing adds to a signature; one that is sent for another task must not reuse them.
_FROZEN: Final = frozenset({"chord", "group_id", "group_index", "parent_id", "reply_to", "root_id", "task_id"})


def of_message(headers: Mapping[str, Any], embed: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a message carries, or None for nothing; `embed` is the third part of its body."""
    id_ = headers.get("id")
    kept = {name: value for name, value in headers.items() if name not in _MADE_ANEW and _tells(name, value, id_)}
    follows = {name: value for name in EMBEDDED if (value := (embed or {}).get(name))}
    return {"headers": kept, "embed": follows} if kept or follows else None


def of_request(request: Any) -> dict[str, Any] | None:
    """Return the same for a request as a task sees it, if nobody saw its message being sent; custom headers are unknown."""
    headers = {name: getattr(request, name, None) for name in HEADERS}
    return of_message({**headers, "id": getattr(request, "id", None)}, {name: getattr(request, name, None) for name in EMBEDDED})


def for_another(extras: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a new task in place of another one carries: new tasks follow it, and it is not part of a chord.

    The extras may be those that another application reported, and hold anything.
    """
    carried, follows = _object(extras.get("headers")), _object(extras.get("embed"))
    headers: dict[str, Any] = {name: carried[name] for name in ("ignore_result", "shadow", "timelimit") if name in carried}
    headers |= {name: value for name, value in carried.items() if name not in HEADERS}
    embed = {name: _thawed(value) for name, value in follows.items() if name != "chord"}
    # Hidden arguments. A replacement's arguments are not the original ones.
    call = {} if "task" in extras else {name: extras[name] for name in ("args", "kwargs") if name in extras}
    # What the dispatch of another application's task asked for.
    call |= {name: extras[name] for name in ("queue", "max_retries") if name in extras}
    return {"headers": headers, "embed": embed, **call} if headers or embed or call else None


def _tells(name: str, value: Any, id_: Any) -> bool:
    if name == "root_id":
        return value is not None and value != id_
    if name == "timelimit":
        return bool(value) and any(value)
    # The first of a group has index 0.
    return bool(value) or (name == "group_index" and value is not None)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _thawed(value: Any) -> Any:
    """Return signatures without the ids that sending added to them."""
    if isinstance(value, (list, tuple)):
        return [_thawed(item) for item in value]
    if not isinstance(value, dict):
        return value
    thawed = {name: _thawed(item) for name, item in value.items()}
    if "task" in value and isinstance(value.get("options"), dict):
        thawed["options"] = {name: _thawed(item) for name, item in value["options"].items() if name not in _FROZEN}
    return thawed
