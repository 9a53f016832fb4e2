"""The catalogue of a Celery app's tasks, as Zenith's pages and API need it to offer them (wire/catalogues.py has its form).

Nothing in it can stop a worker: what cannot be read of a task is left out, and the task accepts anything.
"""

from __future__ import annotations

import copy
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery import Celery
from celery.app.task import Task

from zenith_worker.json_schema import admitting, schema_of
from zenith_worker.wire import catalogues
from zenith_worker.wire.keys import NATIVE

logger = logging.getLogger(__name__)

#: Characters kept of a task's documentation.
DOC_KEPT: Final = 2000
#: Characters of JSON of a default that is told.
DEFAULT_AT_MOST: Final = 500
#: Seconds between two looks whether Redis still has the catalogue.
LOOK_EVERY: Final = 30.0
#: The options of a task that decide its queue.
_ROUTED_BY: Final = ("queue", "exchange", "routing_key")
#: The parameters of a task whose signature cannot be read.
_ANY_PARAMETERS: Final = (
    {"name": "args", "kind": "var_positional", "required": False, "schema": {}},
    {"name": "kwargs", "kind": "var_keyword", "required": False, "schema": {}},
)


class PublishedCatalogue:
    """The catalogue of an app's tasks in Zenith's Redis.

    Attributes:
        digest: that of the catalogue that was written; empty before the first, or if it is too large.
    """

    def __init__(self, app: Celery, application: str = NATIVE) -> None:
        self._app, self._application = app, application
        self._names: frozenset[str] | None = None
        self._wanted = ("", "")
        self._look_at = float("-inf")
        self.digest = ""

    def refresh(self) -> None:
        """Write the catalogue if it is new, or if Redis lost it. Raises redis.RedisError."""
        names = frozenset(tuple(self._app.tasks))
        if names != self._names:
            tasks = tasks_of(self._app, with_message_options=self._application == NATIVE)
            self._wanted, self._names, self._look_at = _written(tasks), names, float("-inf")
        if time.monotonic() < self._look_at:
            return
        digest, written = self._wanted
        if digest:
            catalogues.publish(self._application, digest, written)
        self.digest, self._look_at = digest, time.monotonic() + LOOK_EVERY


def _written(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Return a catalogue's digest and JSON, without descriptions if it is too large; two empty texts if it is so even then."""
    try:
        return catalogues.encode(tasks)
    except ValueError:
        pass
    try:
        return catalogues.encode({name: {**task, "doc": ""} for name, task in tasks.items()})
    except ValueError as error:
        logger.error("Zenith gets no catalogue of these %s tasks, so it cannot send them: %s.", len(tasks), error)
        return "", ""


def tasks_of(app: Celery, *, with_message_options: bool = False) -> dict[str, dict[str, Any]]:
    """Return an app's tasks by name, except Celery's own. It changes nothing: routing adds queues to a copy.

    `with_message_options` adds what whoever publishes their messages has to know.
    """
    router = copy.copy(app.amqp.router)
    router.queues = copy.copy(app.amqp.queues)
    tasks = dict(app.tasks)
    names = [name for name in sorted(tasks) if not name.startswith("celery.")]
    options = {name: _message_options(tasks[name]) if with_message_options else {} for name in names}
    return {name: {**_described(tasks[name], router), **options[name]} for name in names}


def _message_options(task: Any) -> dict[str, Any]:
    """Return the options of a task that are in its messages (wire/catalogues.py)."""
    limits: dict[str, Any] = {name: getattr(task, name, None) for name in ("time_limit", "soft_time_limit")}
    told = {name: limit for name, limit in limits.items() if type(limit) in (int, float) and limit > 0}
    return {**told, "ignore_result": True} if getattr(task, "ignore_result", False) else told


def _described(task: Any, router: Any) -> dict[str, Any]:
    retries = getattr(task, "max_retries", None)
    return {
        "doc": _or(lambda: _doc(task), ""),
        "queue": _or(lambda: _queue(task, router), None),
        "max_retries": retries if type(retries) is int and retries >= 0 else None,
        "drill": bool(getattr(task, "drill", False)),
        "parameters": _or(lambda: _parameters(task), list(_ANY_PARAMETERS)),
    }


def _or(read: Callable[[], Any], otherwise: Any) -> Any:
    """Return what `read` returns; the code of the application that it runs may raise anything."""
    try:
        return read()
    except Exception:
        return otherwise


def _doc(task: Any) -> str:
    doc = inspect.getdoc(task.run) or ""
    if doc == inspect.getdoc(Task.run):
        # A class of its own whose `run` says nothing.
        doc = inspect.cleandoc(type(task).__doc__ or "")
    return doc[:DOC_KEPT]


def _queue(task: Any, router: Any) -> str | None:
    """Return where the task's messages go if nothing else is asked for. A router that needs arguments raises, or is wrong."""
    options = {name: value for name in _ROUTED_BY if (value := getattr(task, name, None))}
    queue = router.route(options, task.name, (), {}, task).get("queue")
    name = getattr(queue, "name", queue)
    return name if isinstance(name, str) else None


def _parameters(task: Any) -> list[dict[str, Any]]:
    body = inspect.unwrap(task.run)
    scope = getattr(body, "__globals__", {})
    return [_parameter(item, scope) for item in _signature(task.run).parameters.values()]


def _signature(body: Any) -> inspect.Signature:
    """Return the signature of a task's body, which is bound to the task: `self` is no parameter of it."""
    if sys.version_info >= (3, 14):
        import annotationlib  # novm

        # Annotations that only a type checker can evaluate would raise.
        return inspect.signature(body, annotation_format=annotationlib.Format.FORWARDREF)  # novm
    return inspect.signature(body)


def _parameter(item: inspect.Parameter, scope: Mapping[str, Any]) -> dict[str, Any]:
    variadic = item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    described: dict[str, Any] = {
        "name": item.name,
        "kind": item.kind.name.lower(),
        "required": item.default is item.empty and not variadic,
        "schema": {} if item.annotation is item.empty else schema_of(item.annotation, scope),
    }
    if item.default is not item.empty:
        described["schema"] = _or(lambda: admitting(described["schema"], item.default), {})
        if _is_small_json(item.default):
            described["default"] = item.default
    return described


def _is_small_json(value: Any) -> bool:
    try:
        text = json.dumps(value, allow_nan=False)
        return len(text) <= DEFAULT_AT_MOST and bool(json.loads(text) == value)
    except (TypeError, ValueError, RecursionError):
        return False
