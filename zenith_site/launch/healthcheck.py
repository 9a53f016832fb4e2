"""`python -m zenith_site.launch.healthcheck`: whether the process of this container does its work; 0 says yes.

A server that is away makes no process sick: starting it again would not help, and `/health` tells about that. So a web process is
well when it answers at all, and the others when PostgreSQL or Redis says that they were heard of lately, or says nothing.

Each probe imports what it needs: imports are what a check costs, and each container is checked every 20 seconds.
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

from django.conf import settings

from zenith_site.launch.container import FLOWER_PORT

#: Seconds that a server has to answer.
PATIENCE: Final = 5.0
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
    return _answers(f"http://127.0.0.1:{FLOWER_PORT}/healthcheck")


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
    import redis

    from zenith_worker.wire import client, heartbeat

    client.configure(settings.ZENITH_REDIS_URL)
    own = settings.ZENITH_WORKER_NAME.replace("%h", socket.gethostname())
    try:
        online = any(beat.name == own and beat.online for beat in heartbeat.read_all())
    except redis.RedisError:
        return ""
    return "" if online else f"the worker {own} has not been heard of lately"


def _engine(arguments: list[str]) -> str:
    import redis

    from zenith_worker.wire import client, stream

    client.configure(settings.ZENITH_REDIS_URL)
    if "--only" in arguments and "recorder" not in arguments:
        return ""
    try:
        return "" if stream.has_recorder(socket.gethostname()) else "the recorder has not been heard of lately"
    except redis.RedisError:
        return ""


def _agent(arguments: list[str]) -> str:
    from django.utils.module_loading import import_string

    # By name: the ground knows no app.
    return str(import_string("infra_app.agent.health.missed")(arguments))


#: By the word that the command line of a role has and no other; under an init process that is the role itself.
PROBES: Final[dict[str, Callable[[list[str]], str]]] = {
    "web": _web,
    "daphne": _web,
    "worker": _worker,
    "engine": _engine,
    "run_engine": _engine,
    "agent": _agent,
    "run_agent": _agent,
    "flower": _flower,
}

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
    sys.exit(main())
