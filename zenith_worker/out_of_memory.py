"""Finds out whether the kernel killed a process because memory ran out, from what it counts for the process's control group.

A container has its own group, with its limit. The counter tells of the whole group, and not which process it was, so the words
say no more than that. Without control groups, nothing is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

_ROOT: Final = Path("/sys/fs/cgroup")
_OF_PROCESS: Final = Path("/proc/self/cgroup")
#: Larger than any machine's memory: version 1 writes a number like this for no limit.
_NO_LIMIT: Final = 2**60


class _Files(NamedTuple):
    """Where a version of control groups has its counter and its limit; and its folder below the root."""

    counter: str
    limit: str
    folder: str


_VERSIONS: Final = {
    2: _Files("memory.events", "memory.max", ""),
    1: _Files("memory.oom_control", "memory.limit_in_bytes", "memory"),
}


class _Seen:
    """How many kills are accounted for."""

    kills: int | None = None


def begin() -> None:
    """Remember how many processes of the group were killed before this worker began."""
    _Seen.kills = _kills()


def explain(death: str) -> str:
    """Return in words that memory ran out, if the kernel has killed a process since the last one that was explained; else ''.

    `death` is what the pool says of the process. Only the name of the signal in it tells a kill from any other end.
    """
    kills = _kills() if "SIGKILL" in death else None
    if kills is None or _Seen.kills is None or kills <= _Seen.kills:
        return ""
    _Seen.kills += 1
    limit = _limit()
    what = "the kernel killed a process here to free memory"
    return f"out of memory: {what}" + (f"; the limit is {limit / 2**20:,.0f} MB" if limit else "")


def _kills() -> int | None:
    for version, files in _VERSIONS.items():
        text = _read(version, files.counter)
        for line in text.splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.isdigit():
                return int(number)
    return None


def _limit() -> int | None:
    for version, files in _VERSIONS.items():
        text = _read(version, files.limit).strip()
        if text.isdigit() and int(text) < _NO_LIMIT:
            return int(text)
    return None


def _read(version: int, name: str) -> str:
    """Return a file of this process's group; the text of the root's, which is a container's own, if that one is not there."""
    root = _ROOT / _VERSIONS[version].folder
    for folder in (root / _group(version).lstrip("/"), root):
        try:
            return (folder / name).read_text()
        except (OSError, ValueError):
            continue
    return ""


def _group(version: int) -> str:
    try:
        lines = _OF_PROCESS.read_text().splitlines()
    except (OSError, ValueError):
        return ""
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number == "0" and not controllers) if version == 2 else "memory" in controllers.split(","):
            return path
    return ""
