"""Ends a Celery worker's pool processes together with the worker.

Celery's pool processes outlive a killed parent: each continues its task, while the task's message returns to the queue and runs a
second time. The kernel can kill them instead (Linux only).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

from celery.signals import worker_before_create_process, worker_process_init

PR_SET_PDEATHSIG = 1

_parent: int | None = None


def connect() -> None:
    """Connect to the signals of every new pool process."""
    worker_before_create_process.connect(remember_parent, dispatch_uid="zenith_site.orphans.parent")
    worker_process_init.connect(end_with_parent, dispatch_uid="zenith_site.orphans")


def remember_parent(**_: Any) -> None:
    """Store the id of the process that forks; the child inherits it."""
    global _parent
    _parent = os.getpid()


def end_with_parent(**_: Any) -> None:
    """Ask the kernel to kill this process when its parent dies; end immediately if the parent has died since the fork."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if _parent not in (None, os.getppid()):
        os.kill(os.getpid(), signal.SIGKILL)
