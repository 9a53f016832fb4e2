"""What a task's body uses: CPU time, and the largest memory of its process meanwhile.

- In a process that runs one task at a time (prefork, solo), both are the process's, without those of processes that it starts.
- Of a thread, the CPU time is its own. Its memory is unknown: threads share that of their process.
- Of a greenlet nothing is known: the others run in between.

The kernel remembers a process's largest memory, and can forget it (proc(5), `clear_refs`); both take a few microseconds. Where it
cannot, the largest memory is known only of a task that takes more than every one before it. The same holds if the pool replaces
processes by their memory (`worker_max_memory_per_child`), for which Celery reads what would be forgotten.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: Bytes in the unit of `ru_maxrss`: getrusage(2) of Linux counts kibibytes, that of macOS bytes.
_UNIT: Final = 1 if sys.platform == "darwin" else 1024
#: The environment of a pool's processes whose largest memory must not be forgotten.
_KEEPS_PEAK: Final = "ZENITH_KEEPS_PEAK"
#: Has the kernel forget the largest memory so far.
_FORGET_PEAK: Final = b"5"


class Usage(NamedTuple):
    """CPU time in seconds, and the largest memory in bytes; None if it is unknown."""

    cpu: float | None = None
    memory: int | None = None


class Meter(NamedTuple):
    """What was used when a body began: CPU time by a clock, and the largest memory of the process until then.

    `forgot`: whether the kernel has forgotten the latter.
    """

    clock: Callable[[], float]
    cpu: float
    peak: int | None
    forgot: bool

    def read(self) -> Usage:
        """Return what was used since then. Never raises."""
        peak = None if self.peak is None else _peak()
        is_known = peak is not None and (self.forgot or peak > (self.peak or 0))
        return Usage(max(0.0, self.clock() - self.cpu), peak if is_known else None)


def begin() -> Meter | None:
    """Begin to measure the body that this thread starts now; return None for a greenlet. Never raises."""
    if _runs_greenlets():
        return None
    if threading.current_thread() is not threading.main_thread():
        clock = getattr(time, "thread_time", None)
        return None if clock is None else Meter(clock, clock(), None, False)
    forgot = _forget_peak()
    return Meter(time.process_time, time.process_time(), _peak(), forgot)


def keep_peak(worker: Any) -> None:
    """Let the pool's processes remember their largest memory if a worker, which starts now, replaces them by it."""
    if getattr(worker, "max_memory_per_child", None):
        os.environ[_KEEPS_PEAK] = "1"
    else:
        os.environ.pop(_KEEPS_PEAK, None)


def _peak() -> int | None:
    return None if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def _forget_peak() -> bool:
    """Have the kernel forget this process's largest memory; return whether it did."""
    if _KEEPS_PEAK in os.environ:
        return False
    try:
        # Opened anew each time: a body that closes whatever is open must not make this write into a file of its own.
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(file, _FORGET_PEAK) == 1
    except OSError:
        return False
    finally:
        os.close(file)


def _runs_greenlets() -> bool:
    """Return whether greenlets have taken the place of threads."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return True
    eventlet = sys.modules.get("eventlet.patcher")
    return eventlet is not None and bool(eventlet.is_monkey_patched("thread"))
