"""Virtual environments as a company has them: without Django for each version of Celery that is tried, and one with Django."""

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
#: How one is filled. Without byte code each start of a worker would compile Celery anew, since none is written later.
INSTALL = ("pip", "install", "--compile-bytecode")
#: What a failure has to tell of its environment.
_TOLD = ("celery", "kombu", "billiard", "amqp", "redis", "gevent", "django", "django_celery_results", "django_yubin")


def python_of(name: str) -> Path:
    """Return the interpreter of the environment with the pins of `NAME.txt`; it is kept until they change.

    The first process of a run that asks for it makes it, aside first, since another run may do so at the same time.
    """
    pins = HERE / f"{name}.txt"
    made_of = (pins.read_text(), sys.version, *INSTALL)
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]
    directory = REPOSITORY / ".venv" / "attached" / f"{name.removeprefix('celery-')}-{digest}"
    with once_a_run(f"attached-{name}") as first:
        if first and not (directory / "complete").exists():
            _make(directory, pins)
    return directory / "bin" / "python"


def versions_of(python: Path) -> str:
    """Return what is installed in an environment, as far as a failure has to tell it."""
    installed = {}
    for path in python.parent.parent.glob("lib/*/site-packages/*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        installed[name.lower()] = version
    return ", ".join(f"{name} {installed[name]}" for name in _TOLD if name in installed)


def _make(directory: Path, pins: Path) -> None:
    uv = (sys.executable, "-m", "uv", "--quiet")
    directory.parent.mkdir(exist_ok=True)
    # Its scripts name their interpreter by path, so it is made where it stays; of two runs at once the later one does it again.
    for command in (
        (*uv, "venv", "--clear", "--python", sys.executable, str(directory)),
        (*uv, *INSTALL, "--python", str(directory / "bin" / "python"), "-r", str(pins)),
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
