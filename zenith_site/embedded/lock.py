"""One `manage.py up` per data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from zenith_site.embedded.errors import EmbeddedError

LOCK_FILE = "up.lock"


class DataDirectoryLock:
    """A lock on the data directory, which the kernel releases when its holder dies, however it dies.

    Arguments:
        data_dir: created if missing.
        address: the holder's address, for the message to a second `up`.
    Raises:
        EmbeddedError: on entering, if another process holds the lock.
    """

    def __init__(self, data_dir: Path, address: str) -> None:
        self.data_dir = data_dir
        self.address = address
        self._descriptor = -1

    def __enter__(self) -> Self:
        create_data_dir(self.data_dir)
        descriptor = os.open(self.data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 300).decode(errors="replace").strip() or "starting"
            os.close(descriptor)
            raise EmbeddedError(
                f"Zenith already runs on {self.data_dir} ({holder}): stop it, or set ZENITH_DATA_DIR to another directory."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"pid {os.getpid()}, {self.address}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def create_data_dir(data_dir: Path) -> None:
    """Create the data directory. Other users may pass through it (PostgreSQL does not run as root), but not list it.

    Raises:
        EmbeddedError: if it cannot be created or written.
    """
    try:
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(f"ZENITH_DATA_DIR={str(data_dir)!r} cannot be used: {error.strerror}.") from None
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise EmbeddedError(f"ZENITH_DATA_DIR={str(data_dir)!r} cannot be used: this user may not write to it.")
