"""`python -m zenith_site.launch.healthcheck`: checks that the process of this container works; exit status 0 means healthy.

An unreachable server does not make a process unhealthy: a restart would not help, and `/health` reports it. So a web process is
healthy if it answers at all. The others are healthy if PostgreSQL or Redis has heard from them lately, or does not answer.

Each probe imports only what it needs: imports are most of a check's cost, and each container is checked every 20 seconds.
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
    """Find this container's role, and probe its process; return the exit status."""
    arguments = INIT.read_text(encoding="utf-8", errors="replace").split("\0")
    probe = next((PROBES[word] for word in arguments if word in PROBES), None)
    # A migration, or the user's own program: it runs, and there is nothing else to check.
    reason = probe(arguments) if probe else ""
    if reason:
        sys.stderr.write(f"{reason}\n")
    return 1 if reason else 0


def _web(_: list[str]) -> str:
    return _answers(f"http://127.0.0.1:{settings.ZENITH_PORT}/health")


def _flower(_: list[str]) -> str:
    return _answers(f"http://127.0.0.1:{FLOWER_PORT}/healthcheck")


def _answers(url: str) -> str:
    """Return why the server at this address is unhealthy; empty if it is healthy."""
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
    return "" if online else f"the worker {own} has sent no heartbeat lately"


def _engine(arguments: list[str]) -> str:
    import redis

    from zenith_worker.wire import client, stream

    client.configure(settings.ZENITH_REDIS_URL)
    if "--only" in arguments and "recorder" not in arguments:
        return ""
    try:
        return "" if stream.has_recorder(socket.gethostname()) else "the recorder has not been at work lately"
    except redis.RedisError:
        return ""


def _agent(arguments: list[str]) -> str:
    from django.utils.module_loading import import_string

    # By name: zenith_site imports no app.
    return str(import_string("infra_app.agent.health.missed")(arguments))


#: Each role's probe, by a word that only this role's command line has; under an init process that is the role itself.
PROBES: Final[dict[str, Callable[[list[str]], str]]] = {
    "web": _web,
    "daphne": _web,
    # All of Zenith in one container: what its supervisor starts again by itself is not looked at.
    "up": _web,
    "watch": _web,
    "zenith_site.launch": _web,
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
