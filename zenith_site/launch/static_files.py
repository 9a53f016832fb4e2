"""Collecting static files only when they changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command


def collect_if_changed() -> bool:
    """Run collectstatic when a source file was added, changed or removed since the last time; true when it ran.

    The image has them collected, in a place that cannot be written any more: there nothing has changed.
    """
    root = Path(settings.STATIC_ROOT)
    fingerprint = source_fingerprint()
    # Beside the files, not among them: those are served.
    record = root.with_name(f"{root.name}.fingerprint")
    if record.exists() and record.read_text(encoding="utf-8") == fingerprint and root.is_dir():
        return False
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    record.write_text(fingerprint, encoding="utf-8")
    return True


def source_fingerprint() -> str:
    """A digest of every source file's name and content; times of change do not survive the building of an image."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list(None):
            content = Path(storage.path(path)).read_bytes()
            digest.update(f"{path}:{len(content)}\n".encode() + content)
    return digest.hexdigest()
