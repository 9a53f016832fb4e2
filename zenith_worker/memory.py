"""The memory of a worker, as Linux reports it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def resident_bytes(pool: Any) -> int | None:
    """Return the resident memory of this process and of a pool's processes; None if there is no /proc.

    Shared pages count for each process.
    """
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(_pages(pid) for pid in (os.getpid(), *_children(pool))) * page
    except (OSError, ValueError):
        return None


def _children(pool: Any) -> Iterable[int]:
    # Prefork's processes; other pools have none.
    processes = getattr(getattr(pool, "_pool", None), "_pool", None)
    return [process.pid for process in list(processes or ()) if getattr(process, "pid", None)]


def _pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        if pid == os.getpid():
            raise
        return 0  # it has ended meanwhile
