"""`python -m zenith_site.launch.container ROLE [OPTIONS]`: the image's entry point.

It becomes the process of that role by exec, so a container holds one process and signals reach it. Options are added after the
role's own, and override them: `worker --queues reports --concurrency 4`. Anything that is not a role runs as a command.

`up` and `watch URL` are not one process but all of them, as on a developer's machine, with a secret key that is made for them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from django.conf import settings

from zenith_site.__main__ import expanded
from zenith_site.embedded import postgres, redis
from zenith_site.embedded.state import ensure_secret
from zenith_site.env import WrongSetting
from zenith_site.launch import programs

#: Where Flower listens.
FLOWER_PORT: Final = 5555


def main(arguments: list[str]) -> None:
    """Become the process that the arguments name."""
    role, *options = expanded(arguments) or ["web"]
    if role in ROLES or role == "up":
        program = ROLES[role]() if role in ROLES else _up()
        command, environment = [*program.command, *options], program.environment
    else:
        command, environment = arguments, {}
    try:
        os.execvpe(command[0], command, os.environ | environment)  # noqa: S606
    except OSError as error:
        sys.exit(f"{role!r} is not accepted: it takes {', '.join(ROLES)}, up, watch URL, or a program ({error.strerror}).")


def _web() -> programs.Program:
    return programs.web(settings.ZENITH_HOST, settings.ZENITH_PORT)


def _worker() -> programs.Program:
    """Return the worker at log level INFO, to say when it is connected and ready; tasks still log no lines."""
    program = programs.worker(settings.ZENITH_WORKER_CONCURRENCY, settings.CELERY_TASK_DEFAULT_QUEUE)
    return replace(program, command=(*program.command, "--loglevel", "INFO"))


def _engine() -> programs.Program:
    return programs.engine()


def _agent() -> programs.Program:
    return programs.agent()


def missing_servers() -> str:
    """Return what to do if a server is neither in this image nor given; else an empty text."""
    servers = (("PostgreSQL", "DATABASE_URL", postgres.is_installed), ("Redis", "REDIS_URL", redis.is_installed))
    missing = [
        (server, name)
        for server, name, is_installed in servers
        if not (os.environ.get(name) or os.environ.get(f"{name}_FILE") or is_installed())
    ]
    if not missing:
        return ""
    names = " and ".join(name for _, name in missing) + (" is" if len(missing) == 1 else " are")
    given = " ".join(f"--env {name}={'postgres' if name == 'DATABASE_URL' else 'redis'}://…" for _, name in missing)
    return (
        f"This image has no {' and no '.join(server for server, _ in missing)}, and {names} not set. Give what is missing (docker"
        f" run {given} …), or build an image that has both (docker build --build-arg BASE=python:3.12-slim --build-arg"
        " EXTRA_REQUIREMENTS=requirements-embedded.txt …), or use docker compose. docs/deploy.md explains it under “Everything in"
        " one container”."
    )


def _up() -> programs.Program:
    """Return the command that runs all of Zenith in this container. There is no proxy that would speak HTTPS for it."""
    if reason := missing_servers():
        sys.exit(reason)
    if not os.environ.get("ZENITH_SECRET_KEY") and not os.environ.get("ZENITH_SECRET_KEY_FILE"):
        # Before the settings are read, which need it.
        ensure_secret(Path(os.environ.get("ZENITH_DATA_DIR") or ".zenith"), "secret_key", size=48)
    environment = {} if os.environ.get("ZENITH_HTTPS") else {"ZENITH_HTTPS": "false"}
    return programs.Program("up", (*programs.MANAGE, "up"), environment)


def _secrets() -> programs.Program:
    return programs.Program("secrets", (sys.executable, "-m", "zenith_site.launch.secrets"), long_running=False)


def _roles() -> programs.Program:
    return programs.Program("roles", (sys.executable, "-m", "zenith_site.launch.roles"), long_running=False)


def _migrate() -> programs.Program:
    return programs.Program("migrate", (*programs.MANAGE, "prepare"), long_running=False)


def _flower() -> programs.Program:
    """Return Flower with a password in its environment variable: everybody can read a command line."""
    if not settings.ZENITH_FLOWER_PASSWORD:
        raise WrongSetting("ZENITH_FLOWER_PASSWORD is not set: Flower needs a password, in it or in ZENITH_FLOWER_PASSWORD_FILE.")
    return programs.Program(
        "flower",
        (sys.executable, "-m", "celery", "-A", "zenith_site", "flower", f"--port={FLOWER_PORT}"),
        environment={"FLOWER_BASIC_AUTH": f"{settings.ZENITH_ADMIN_USERNAME}:{settings.ZENITH_FLOWER_PASSWORD}"},
    )


ROLES: Final[dict[str, Callable[[], programs.Program]]] = {
    "web": _web,
    "worker": _worker,
    "engine": _engine,
    "agent": _agent,
    "flower": _flower,
    "migrate": _migrate,
    "secrets": _secrets,
    "roles": _roles,
}

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
    main(sys.argv[1:])
