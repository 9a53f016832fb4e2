"""Collecting static files only when they changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command

FINGERPRINT_FILE = "static.fingerprint"


def collect_if_changed() -> bool:
    """Run collectstatic when a source file was added, changed or removed since the last time; true when it ran."""
    fingerprint = source_fingerprint()
    record = Path(settings.ZENITH_DATA_DIR) / FINGERPRINT_FILE
    if record.exists() and record.read_text(encoding="utf-8") == fingerprint and Path(settings.STATIC_ROOT).is_dir():
        return False
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    record.write_text(fingerprint, encoding="utf-8")
    return True


def source_fingerprint() -> str:
    """A digest of every source file's name, size and time of change."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list(None):
            stat = Path(storage.path(path)).stat()
            digest.update(f"{path}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
