"""Where the suites come from: the source distributions of the installed versions, fetched by pip; no copy is kept here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from tests.servers import RUN, once_a_run

#: Seconds for a download.
PATIENCE = 180
#: What every application of Celery's suite is configured with, beside broker and results: as Zenith's own, but for its queue.
CONFIGURATION = {
    "broker_transport": "zenith_worker.wire.transport:Transport",
    "worker_consumer": "zenith_worker.consumer:Consumer",
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
}
INI = "[pytest]\npython_classes = test_* Test*\nasyncio_mode = strict\nmarkers = env\n"


def suite_of(package: str) -> Path:
    """Return the directory in which a package's suite runs; the first process of a run to ask for it makes it."""
    directory = Path(os.environ[RUN]) / "witness"
    with once_a_run(f"witness-{package}") as first:
        if first:
            _fetch(package, directory)
    return directory / f"{package}-{version(package)}"


def _fetch(package: str, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--no-binary", ":all:")
    done = subprocess.run(
        (*pip, f"{package}=={version(package)}"), cwd=directory, check=False, timeout=PATIENCE, capture_output=True, text=True
    )
    assert done.returncode == 0, f"the source of {package} cannot be fetched:\n{done.stderr[-2000:]}"
    (archive,) = directory.glob(f"{package}-*.tar.gz")
    with tarfile.open(archive) as packed:
        wanted = [member for member in packed.getmembers() if member.name.partition("/")[2].startswith("t/")]
        packed.extractall(directory, wanted, filter="data")
    root = directory / archive.name.removesuffix(".tar.gz")
    (root / "integration-tests-config.json").write_text(json.dumps(CONFIGURATION))
    (root / "pytest.ini").write_text(INI)
