"""Chooses the user that PostgreSQL runs as: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from zenith_site.embedded.errors import EmbeddedError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Runner:
    """The user of a server process.

    Arguments:
        name: `-` for the current user.
        search: whether the user cannot reach the files, and needs the capability to pass through closed directories.
    """

    name: str
    uid: int
    gid: int
    search: bool


def choose_runner(directory: Path, program: Path) -> Runner:
    """Return the current user; for root the data's owner, or else an unprivileged user that every system has.

    Raises:
        EmbeddedError: for root on a system without an unprivileged user.
    """
    if os.geteuid() != 0:
        return Runner("-", os.geteuid(), os.getegid(), search=False)
    entry = _owner(directory) or next(filter(None, map(_lookup, CANDIDATES)), None)
    if entry is None:
        raise EmbeddedError(
            "PostgreSQL does not run as root, and there is no user `nobody`: run as another user, or set DATABASE_URL."
        )
    reachable = all(_passable(parent, entry) for path in (directory, program) for parent in path.resolve().parents)
    return Runner(entry.pw_name, entry.pw_uid, entry.pw_gid, search=not reachable)


def hand_over(path: Path, runner: Runner) -> None:
    """Change the owner of a file or directory to the server's user, if that is another."""
    if runner.name != "-":
        os.chown(path, runner.uid, runner.gid)


def _owner(directory: Path) -> pwd.struct_passwd | None:
    if not directory.exists() or directory.stat().st_uid == 0:
        return None
    try:
        return pwd.getpwuid(directory.stat().st_uid)
    except KeyError:
        return None


def _lookup(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _passable(directory: Path, entry: pwd.struct_passwd) -> bool:
    status = directory.stat()
    if status.st_uid == entry.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == entry.pw_gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
