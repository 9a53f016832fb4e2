"""Detects a local Docker Engine, without loading a client for it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from zenith_site.embedded.state import Bridge

_PATIENCE: Final = 1.0
#: The port of an engine over TCP if its address has none.
_PORT: Final = 2375
_ASK_SECONDS: Final = 20


def answers(url: str) -> bool:
    """Whether something listens at an engine's address. An address by ssh is not checked: the agent finds out itself."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(_PATIENCE)
                probe.connect(parts.path)
        elif parts.scheme != "ssh":
            socket.create_connection((parts.hostname or "", parts.port or _PORT), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


def bridge(url: str) -> Bridge | None:
    """Return the network of a local engine's containers; None for a remote engine."""
    if not url.startswith("unix:"):
        return None
    command = [sys.executable, "-m", "infra_app.gateway.bridge", url]
    with suppress(subprocess.SubprocessError, ValueError, TypeError):
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ASK_SECONDS)
        return Bridge(**json.loads(completed.stdout))
    return None
