"""Looking at other processes from a test."""

from __future__ import annotations

import time
from pathlib import Path


def ends(pid: int | None, seconds: float = 10) -> bool:
    """Whether a process is gone within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not pid or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
