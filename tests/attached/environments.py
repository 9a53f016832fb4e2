"""Virtual environments without Django, one for each version of Celery that is tried, as a company has them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.processes import REPOSITORY
from tests.servers import RUN, once_a_run

HERE = Path(__file__).parent
#: Seconds for making one.
PATIENCE = 240


def python_of(version: str) -> Path:
    """Return the interpreter of the environment with this version of Celery; it is kept until its pins change.

    The first process of a run that asks for it makes it, aside first, since another run may do so at the same time.
    """
    pins = HERE / f"celery-{version}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    directory = REPOSITORY / ".venv" / "attached" / f"{version}-{digest}"
    with once_a_run(f"attached-{version}") as first:
        if first and not (directory / "complete").exists():
            _make(directory, pins)
    return directory / "bin" / "python"


def _make(directory: Path, pins: Path) -> None:
    uv = (sys.executable, "-m", "uv", "--quiet")
    directory.parent.mkdir(exist_ok=True)
    # Its scripts name their interpreter by path, so it is made where it stays; of two runs at once the later one does it again.
    for command in (
        (*uv, "venv", "--clear", "--python", sys.executable, str(directory)),
        (*uv, "pip", "install", "--python", str(directory / "bin" / "python"), "-r", str(pins)),
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE, env=os.environ)
        assert done.returncode == 0, f"{pins.name} cannot be installed:\n{done.stderr[-2000:]}"
    (directory / "complete").touch()


def import_path() -> Path:
    """Return a directory that holds `zenith_worker` and nothing else of this repository, for PYTHONPATH."""
    directory = Path(os.environ[RUN]) / "zenith-worker"
    with once_a_run("attached-import-path") as first:
        if first:
            directory.mkdir()
            (directory / "zenith_worker").symlink_to(REPOSITORY / "zenith_worker")
    return directory
