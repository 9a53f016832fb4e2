"""Collects static files only if they changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command


def collect_if_changed() -> bool:
    """Run collectstatic if a source file was added, changed or removed since the last time; return whether it ran.

    In the image they are already collected, into a directory that is read-only, and never change.
    """
    root = Path(settings.STATIC_ROOT)
    fingerprint = source_fingerprint()
    # Next to the directory, not in it, whose files are served.
    record = root.with_name(f"{root.name}.fingerprint")
    if record.exists() and record.read_text(encoding="utf-8") == fingerprint and root.is_dir():
        return False
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    record.write_text(fingerprint, encoding="utf-8")
    return True


def source_fingerprint() -> str:
    """Return a digest of every source file's name and content. Building an image does not preserve modification times."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list(None):
            content = Path(storage.path(path)).read_bytes()
            digest.update(f"{path}:{len(content)}\n".encode() + content)
    return digest.hexdigest()
