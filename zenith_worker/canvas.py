"""Reads a canvas for its tasks that have not been sent yet: later steps of a chain, the body of a chord."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery

from zenith_worker.wire.routing import queue_of

#: Signatures that stand for several tasks: their own id is not a task's.
_COMPOUND = frozenset({"chain", "group", "chord"})


def origins(app: Celery, signature: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return, for each task with an id in a signature, the fields of its first report (events.Event)."""
    return {str(part["options"]["task_id"]): _origin(app, part) for part in _tasks(signature)}


def _tasks(signature: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    kind = signature.get("subtask_type")
    if kind not in _COMPOUND:
        if (signature.get("options") or {}).get("task_id"):
            yield signature
        return
    kwargs = signature.get("kwargs") or {}
    parts = [kwargs["body"]] if kind == "chord" and kwargs.get("body") else kwargs.get("tasks") or []
    for part in parts:
        yield from _tasks(part)


def _origin(app: Celery, signature: Mapping[str, Any]) -> dict[str, Any]:
    options = signature.get("options") or {}
    # Only the options that routers read: the others may hold signatures.
    routed = {name: options[name] for name in ("queue", "exchange", "routing_key") if options.get(name)}
    return {
        "name": str(signature["task"]),
        "queue": queue_of(app, str(signature["task"]), routed),
        "args": list(signature.get("args") or ()),
        "kwargs": dict(signature.get("kwargs") or {}),
    }


def ids_sent_at_end(request: Any) -> set[str]:
    """Return the ids of the tasks that Celery sends at a running task's end: its chain's next step and its chord's body.

    The ids were set when the canvas was sent, so they are the same however often that end is reached.
    """
    chain = getattr(request, "chain", None) or []
    following = [chain[-1]] if isinstance(chain, list) and chain else []
    if chord := getattr(request, "chord", None):
        following.append(chord)
    return {str(part["options"]["task_id"]) for signature in following for part in _tasks(signature)}
