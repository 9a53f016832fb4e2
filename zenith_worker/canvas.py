"""Reads a canvas for its tasks that have not been sent yet: later steps of a chain, the body of a chord."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from celery import Celery

from zenith_worker.wire import extras
from zenith_worker.wire.routing import queue_of

#: Signatures that stand for several tasks: their own id is not a task's.
_COMPOUND = frozenset({"chain", "group", "chord"})
#: The root of the task whose end Celery is storing: what does not run because of it has the same one.
_root: Final[ContextVar[str | None]] = ContextVar("root", default=None)


@contextmanager
def ending(request: Any) -> Iterator[None]:
    """Note for the block which task ends; `request` may be None."""
    before = _root.set(getattr(request, "root_id", None) or getattr(request, "id", None))
    try:
        yield
    finally:
        _root.reset(before)


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
        "extras": extras.of_message(_headers(options), _embed(options)),
    }


def _headers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that would say to which workflow a task belongs."""
    return {
        "id": options.get("task_id"),
        "root_id": options.get("root_id") or _root.get(),
        "group": options.get("group_id"),
        "group_index": options.get("group_index"),
    }


def _embed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"chord": options.get("chord"), "callbacks": options.get("link"), "errbacks": options.get("link_error")}


def ids_sent_at_end(request: Any) -> set[str]:
    """Return the ids of the tasks that Celery sends at a running task's end: its chain's next step and its chord's body.

    The ids were set when the canvas was sent, so they are the same however often that end is reached.
    """
    chain = getattr(request, "chain", None) or []
    following = [chain[-1]] if isinstance(chain, list) and chain else []
    if chord := getattr(request, "chord", None):
        following.append(chord)
    return {str(part["options"]["task_id"]) for signature in following for part in _tasks(signature)}
