"""Loads an installation's own Celery settings from the module in ZENITH_CELERY_CONFIG, which is written like a `celeryconfig.py`.

It may set routes, queues, serializers, schedules, annotations and policies. A setting that Zenith's guarantees rest on is refused
by name, and so is a name that Celery does not know.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Final

from celery.app.defaults import NAMESPACES, flatten

from zenith_site.env import WrongSetting
from zenith_worker.wire.queue_names import why_reserved

#: Settings that belong to Zenith: by name, and by prefix.
OWNED: Final = frozenset({
    "db_reuse_max", "imports", "include", "result_backend", "result_backend_transport_options", "result_extended",
    "result_persistent", "task_always_eager", "task_protocol", "worker_consumer", "worker_hijack_root_logger",
    "worker_pool_restarts",
})  # fmt: skip
OWNED_PREFIXES: Final = ("broker_", "redis_")
_KNOWN: Final = frozenset(name for name, _ in flatten(NAMESPACES))


def load(module: str) -> dict[str, Any]:
    """Return a module's settings by name; none if the module's name is empty. Raises WrongSetting, which names the culprit."""
    if not module:
        return {}
    try:
        config = importlib.import_module(module)
    except ImportError as error:
        raise WrongSetting(f"ZENITH_CELERY_CONFIG={module!r} is not accepted: it cannot be imported ({error}).") from None
    settings = {name: value for name, value in vars(config).items() if _is_setting(name, value)}
    for name in settings:
        _check(module, name)
    for queue in _queues(settings):
        if reason := why_reserved(queue):
            raise WrongSetting(f"ZENITH_CELERY_CONFIG={module!r} is not accepted: {reason}")
    return settings


def _is_setting(name: str, value: Any) -> bool:
    """Whether a name is meant as a setting: not an imported module, a class or a helper function."""
    if name.startswith("_") or isinstance(value, ModuleType | type):
        return False
    return name in _KNOWN or not callable(value)


def _queues(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the queues that these settings name. A route that is a function cannot be read."""
    if "task_default_queue" in settings:
        yield str(settings["task_default_queue"])
    for queue in settings.get("task_queues") or ():
        yield str(getattr(queue, "name", queue))
    routes = settings.get("task_routes") or ()
    for route in routes if isinstance(routes, list | tuple) else (routes,):
        for _, target in route.items() if isinstance(route, Mapping) else ():
            queue = target.get("queue") if isinstance(target, Mapping) else target
            if queue is not None:
                yield str(getattr(queue, "name", queue))


def _check(module: str, name: str) -> None:
    if name in OWNED or name.startswith(OWNED_PREFIXES):
        raise WrongSetting(f"ZENITH_CELERY_CONFIG={module!r} is not accepted: {name} is Zenith's own setting; remove it.")
    if name not in _KNOWN:
        near = get_close_matches(name.lower().removeprefix("celery_"), _KNOWN, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise WrongSetting(f"ZENITH_CELERY_CONFIG={module!r} is not accepted: Celery has no setting {name}{hint}")
