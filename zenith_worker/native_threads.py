"""Threads of the operating system, also where gevent has put greenlets in their place: a busy greenlet must not stop them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from zenith_worker.wire.client import keep_own_client


def start_native_thread(target: Any) -> None:
    """Start a daemon thread of the operating system, also where gevent has put greenlets in the place of threads."""
    try:
        from gevent.monkey import get_original, is_module_patched  # type: ignore[import-untyped]
    except ImportError:
        patched = False
    else:
        patched = is_module_patched("threading")
    if patched:
        get_original("_thread", "start_new_thread")(_with_own_client, (target,))
    else:
        threading.Thread(target=target, name="zenith-beat", daemon=True).start()


def _with_own_client(target: Callable[[], None]) -> None:
    keep_own_client()
    target()
