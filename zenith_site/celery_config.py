"""Celery settings of one's own: a module that ZENITH_CELERY_CONFIG names, as a `celeryconfig.py` is written.

Routes, queues, serializers, schedules, annotations and policies are anybody's choice. What Zenith must own, because its
guarantees rest on it, is refused by name, and so is a name that Celery does not know.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Final

from celery.app.defaults import NAMESPACES, flatten

from zenith_site.env import WrongSetting

#: What is Zenith's own: settings by name, and by the beginning of their names.
OWNED: Final = frozenset({
    "db_reuse_max", "imports", "include", "result_backend", "result_backend_transport_options", "result_extended",
    "result_persistent", "task_always_eager", "task_protocol", "worker_consumer", "worker_hijack_root_logger",
    "worker_pool_restarts",
})  # fmt: skip
OWNED_PREFIXES: Final = ("broker_", "redis_")
_KNOWN: Final = frozenset(name for name, _ in flatten(NAMESPACES))


def load(module: str) -> dict[str, Any]:
    """Return the settings of a module by their names; none for an empty name. Raises WrongSetting naming the culprit."""
    if not module:
        return {}
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise WrongSetting(f"ZENITH_CELERY_CONFIG={module!r} is not accepted: it cannot be imported ({error}).") from None
    settings = {name: value for name, value in vars(found).items() if _is_setting(found, name, value)}
    for name in settings:
        _check(module, name)
    return settings


def _is_setting(module: ModuleType, name: str, value: Any) -> bool:
    """Whether a name is meant as a setting; modules, classes and helpers of the module's own are none."""
    if name.startswith("_") or isinstance(value, ModuleType | type):
        return False
    return name in _KNOWN or not callable(value)


def _check(module: str, name: str) -> None:
    if name in OWNED or name.startswith(OWNED_PREFIXES):
        raise WrongSetting(f"ZENITH_CELERY_CONFIG={module!r} is not accepted: {name} is Zenith's own setting; take it out.")
    if name not in _KNOWN:
        near = get_close_matches(name.lower().removeprefix("celery_"), _KNOWN, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise WrongSetting(f"ZENITH_CELERY_CONFIG={module!r} is not accepted: Celery has no setting {name}{hint}")
