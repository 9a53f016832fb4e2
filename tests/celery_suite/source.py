"""Where Celery's integration suite comes from: the source distribution of the installed version, never a copy kept here."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import celery

#: Seconds for a download.
PATIENCE = 180
#: What every application of the suite is configured with, beside broker and results: as Zenith's own, but for its queue's name.
CONFIGURATION = {
    "broker_transport": "zenith_worker.wire.transport:Transport",
    "worker_consumer": "zenith_worker.consumer:Consumer",
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_track_started": True,
    "worker_prefetch_multiplier": 1,
}
INI = "[pytest]\npython_classes = test_* Test*\nasyncio_mode = strict\n"


def fetch(directory: Path) -> Path:
    """Put the suite, with its configuration, into a directory; return the one to run it in."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
    ]
    subprocess.run([*command, f"celery=={celery.__version__}"], cwd=directory, check=True, timeout=PATIENCE)
    (archive,) = directory.glob("celery-*.tar.gz")
    with tarfile.open(archive) as packed:
        wanted = [member for member in packed.getmembers() if member.name.partition("/")[2].startswith("t/")]
        packed.extractall(directory, wanted, filter="data")
    root = directory / archive.name.removesuffix(".tar.gz")
    (root / "integration-tests-config.json").write_text(json.dumps(CONFIGURATION))
    (root / "pytest.ini").write_text(INI)
    return root
