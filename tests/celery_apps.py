"""Celery applications of tests that have only their own tasks, whatever this process has imported."""

from __future__ import annotations

import pytest
from celery import Celery, _state


def app_alone(patch: pytest.MonkeyPatch, name: str, **options: object) -> Celery:
    """Return an application without the `@shared_task`s that other modules give to every one."""
    own = {finalizer for finalizer in _state._on_app_finalizers if finalizer.__module__ == "celery.app.builtins"}
    patch.setattr(_state, "_on_app_finalizers", own)
    return Celery(name, set_as_current=False, **options)
