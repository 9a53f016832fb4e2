"""Whether a Docker engine is here, asked without loading anything that speaks to it."""

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
#: Of an engine that speaks TCP, where its address names none.
_PORT: Final = 2375
_ASK_SECONDS: Final = 20


def answers(url: str) -> bool:
    """Whether something listens at an engine's address; an agent that reaches its engine by ssh finds out itself."""
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
    """Return the network that a local engine gives its containers; None for an engine elsewhere."""
    if not url.startswith("unix:"):
        return None
    command = [sys.executable, "-m", "infra_app.gateway.bridge", url]
    with suppress(subprocess.SubprocessError, ValueError, TypeError):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ASK_SECONDS)
        return Bridge(**json.loads(done.stdout))
    return None
