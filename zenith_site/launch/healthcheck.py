"""`python -m zenith_site.launch.healthcheck`: whether the process of this container does its work; 0 says yes.

A server that is away makes no process sick: starting it again would not help, and `/health` tells about that. So a web process is
well when it answers at all, and a worker or an engine when Redis says that it was heard of lately, or says nothing.
"""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis
from django.conf import settings

#: Seconds that a server has to answer.
PATIENCE: Final = 5.0
#: Seconds for which an engine's recorder may be busy with one batch.
RECORDER_PATIENCE: Final = 60.0
INIT: Final = Path("/proc/1/cmdline")


def main() -> int:
    """Find out which role this container has, and ask its process."""
    arguments = INIT.read_text(encoding="utf-8", errors="replace").split("\0")
    probe = next((PROBES[word] for word in arguments if word in PROBES), None)
    # A migration, or a program of the user's: it runs, and nobody here knows more.
    reason = probe(arguments) if probe else ""
    if reason:
        sys.stderr.write(f"{reason}\n")
    return 1 if reason else 0


def _web(_: list[str]) -> str:
    return _answers(f"http://127.0.0.1:{settings.ZENITH_PORT}/health")


def _flower(_: list[str]) -> str:
    return _answers("http://127.0.0.1:5555/healthcheck")


def _answers(url: str) -> str:
    """Why the server at this address is not well; empty when it is."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE):  # noqa: S310 (the address is ours)
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code == 503 else f"{url} answers {error.code}"
    except OSError as error:
        return f"{url} does not answer: {error}"


def _worker(_: list[str]) -> str:
    from tasks_app.tracking import heartbeat

    try:
        beats = heartbeat.read_all()
    except redis.RedisError:
        return ""
    own = [beat for beat in beats if beat.name.partition("@")[2] == socket.gethostname()]
    return "" if any(beat.online for beat in own) else "the worker of this container has not been heard of lately"


def _engine(arguments: list[str]) -> str:
    from tasks_app.tracking import stream

    if "--only" in arguments and "recorder" not in arguments:
        return ""
    try:
        idle = stream.consumer_idle(f"{socket.gethostname()}-")
    except redis.RedisError:
        return ""
    return "" if idle is not None and idle < RECORDER_PATIENCE else "the recorder of this container has not read lately"


#: By the word that the command line of a role has and no other; under an init process that is the role itself.
PROBES: Final[dict[str, Callable[[list[str]], str]]] = {
    "web": _web,
    "daphne": _web,
    "worker": _worker,
    "engine": _engine,
    "run_engine": _engine,
    "flower": _flower,
}

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
    sys.exit(main())
