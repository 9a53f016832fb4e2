"""The programs that `manage.py up` runs, as command lines."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings

from zenith_site.embedded.processes import exec_with_parent
from zenith_site.embedded.state import addresses

#: Secrets that a worker does not need, but that its tasks could read; docs/deploy.md has the table.
NOT_FOR_WORKERS = (
    "ZENITH_ADMIN_PASSWORD", "ZENITH_API_KEY", "ZENITH_METRICS_TOKEN", "ZENITH_NOTIFY_SLACK_URL", "ZENITH_NOTIFY_WEBHOOK_URL",
    "ZENITH_NOTIFY_WEBHOOK_SECRET", "EMAIL_HOST_PASSWORD", "ZENITH_NODE_REDIS_URL", "ZENITH_FLOWER_PASSWORD",
    "DATABASE_URL", "POSTGRES_PASSWORD", "POSTGRES_ADMIN_PASSWORD", "ZENITH_WATCH",
)  # fmt: skip
#: Runs a management command, from a clone as from a wheel.
MANAGE: Final = (sys.executable, "-m", "zenith_site")
# The exit status of `manage.py prepare` if it has already explained the error in one line on stderr.
EXPLAINED = 3


@dataclass(frozen=True)
class Program:
    """One process to keep running.

    Arguments:
        name: the prefix of its lines.
        command: the program and its arguments.
        environment: variables in addition to the environment of `up`.
        long_running: whether it should run for ever; false for a step that ends.
        stop_order: programs with a higher number are stopped after those with a lower number have ended.
        death_signal: the signal that it gets if `up` itself is killed.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    long_running: bool = True
    stop_order: int = 0
    death_signal: int = signal.SIGTERM

    def tethered_command(self) -> list[str]:
        """Return the command line whose process ends with its parent."""
        return exec_with_parent(self.command, death_signal=self.death_signal)


def web(host: str, port: int) -> Program:
    """Return the HTTP and WebSocket server; `-v 0` turns off the log line of each request."""
    return Program(
        "web", (sys.executable, "-m", "daphne", "-v", "0", "-b", host, "-p", str(port), "zenith_site.asgi:application")
    )


def worker(concurrency: int, queue: str) -> Program:
    """Return the Celery worker.

    Gossip and mingle are off: nothing here uses them, and they cost messages and a second at the start.
    """
    return Program(
        "worker",
        (
            *(sys.executable, "-m", "celery", "-A", "zenith_site", "--quiet", "worker", "--loglevel", "WARNING"),
            *("--concurrency", str(concurrency), "--queues", queue, "--hostname", settings.ZENITH_WORKER_NAME),
            *("--without-gossip", "--without-mingle"),
        ),
        # SIGTERM then starts the soft shutdown, which is limited in time, instead of the warm one, which is not.
        environment={"REMAP_SIGTERM": "SIGQUIT", **_secrets_of_workers(), **_allow_root()},
        # Its servers end at the same moment, so a soft shutdown could only hang; late acknowledgement keeps the tasks.
        death_signal=signal.SIGKILL,
    )


def _secrets_of_workers() -> dict[str, str]:
    """Return the workers' own secrets, and empty values for all others: those count as not set, and override `.env`."""
    withheld = {f"{name}{suffix}": "" for name in NOT_FOR_WORKERS for suffix in ("", "_FILE")}
    own = {"ZENITH_SECRET_KEY": settings.ZENITH_WORKER_SECRET_KEY, "ZENITH_SECRET_KEY_FILE": ""}
    if settings.ZENITH_EMBEDDED_REDIS:
        own["REDIS_URL"] = addresses(settings.ZENITH_DATA_DIR).worker_redis_url
    return {**withheld, **own}


def engine() -> Program:
    """Return the engine. It stops after the worker, to record the worker's last steps."""
    return Program("engine", (*MANAGE, "run_engine"), stop_order=1)


def agent() -> Program:
    """Return the agent of this machine's Docker host; its nodes keep running without it."""
    return Program("agent", (*MANAGE, "run_agent"))


def first_batch() -> Program:
    """Return the step that dispatches the first ten tasks of an empty database."""
    return Program("batch", (*MANAGE, "first_batch"), long_running=False)


def _allow_root() -> dict[str, str]:
    # Celery warns root about pickled messages, which this project does not accept.
    return {"PYTHONWARNINGS": "ignore:You're running the worker with superuser"} if os.geteuid() == 0 else {}
