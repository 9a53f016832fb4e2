"""Pool processes of a Celery worker end with it.

Celery's pool processes outlive a parent that is killed: each goes on with its task, unseen, while the task's message goes back to
the queue and is run a second time. The kernel can be asked to kill them instead (Linux only).
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
    """Ask for it in every pool process from now on."""
    worker_before_create_process.connect(remember_parent, dispatch_uid="zenith_site.orphans.parent")
    worker_process_init.connect(end_with_parent, dispatch_uid="zenith_site.orphans")


def remember_parent(**_: Any) -> None:
    """Note who is about to fork; the child inherits it."""
    global _parent
    _parent = os.getpid()


def end_with_parent(**_: Any) -> None:
    """Ask the kernel to kill this process when its parent dies; end at once when it has died since the fork."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if _parent not in (None, os.getppid()):
        os.kill(os.getpid(), signal.SIGKILL)
