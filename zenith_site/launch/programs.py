"""The programs that `manage.py up` runs, as command lines."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from zenith_site.embedded.processes import exec_with_parent
from zenith_site.embedded.state import addresses

#: Secrets that a worker does not read, and the tasks in it could; docs/deploy.md has the table.
NOT_FOR_WORKERS = (
    "ZENITH_ADMIN_PASSWORD", "ZENITH_API_KEY", "ZENITH_METRICS_TOKEN", "ZENITH_NOTIFY_SLACK_URL", "ZENITH_NOTIFY_WEBHOOK_URL",
    "ZENITH_NOTIFY_WEBHOOK_SECRET", "EMAIL_HOST_PASSWORD", "ZENITH_NODE_DATABASE_URL", "ZENITH_NODE_REDIS_URL",
    "ZENITH_FLOWER_PASSWORD", "POSTGRES_PASSWORD", "POSTGRES_ADMIN_PASSWORD",
)  # fmt: skip
# The exit status of `manage.py prepare` that says: one line on stderr has told what is wrong.
EXPLAINED = 3


@dataclass(frozen=True)
class Program:
    """One process to keep running.

    Arguments:
        name: the prefix of its lines.
        command: the program and its arguments.
        environment: what it gets besides the environment of `up`.
        lasting: whether its end is unexpected; false for a step that is meant to end.
        stop_order: programs of a higher number are stopped after those of lower ones have ended.
        death_signal: what it gets when `up` itself is killed.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    lasting: bool = True
    stop_order: int = 0
    death_signal: int = signal.SIGTERM

    def tethered_command(self) -> list[str]:
        """The command line that ends with its parent."""
        return exec_with_parent(self.command, death_signal=self.death_signal)


def web(host: str, port: int) -> Program:
    """The HTTP and WebSocket server; `-v 0` keeps a line per request out of the log."""
    return Program(
        "web", (sys.executable, "-m", "daphne", "-v", "0", "-b", host, "-p", str(port), "zenith_site.asgi:application")
    )


def worker(concurrency: int, queue: str) -> Program:
    """The Celery worker.

    Gossip and mingle tell workers of each other; nothing here asks them, and they cost messages and a second at the start.
    """
    return Program(
        "worker",
        (
            *(sys.executable, "-m", "celery", "-A", "zenith_site", "--quiet", "worker", "--loglevel", "WARNING"),
            *("--concurrency", str(concurrency), "--queues", queue, "--hostname", settings.ZENITH_WORKER_NAME),
            *("--without-gossip", "--without-mingle"),
        ),
        # The signal that ends it then starts the soft shutdown, which is bounded, instead of the warm one, which is not.
        environment={"REMAP_SIGTERM": "SIGQUIT", **_secrets_of_workers(), **_allow_root()},
        # Its servers go down at the same moment, so it could only hang in a soft shutdown; late acknowledgement keeps the tasks.
        death_signal=signal.SIGKILL,
    )


def _secrets_of_workers() -> dict[str, str]:
    """A key of their own, and nothing where others have their secrets: an empty value counts as not set, also before `.env`."""
    emptied = {f"{name}{suffix}": "" for name in NOT_FOR_WORKERS for suffix in ("", "_FILE")}
    given = {"ZENITH_SECRET_KEY": settings.ZENITH_WORKER_SECRET_KEY, "ZENITH_SECRET_KEY_FILE": ""}
    if settings.ZENITH_EMBEDDED_REDIS:
        given["REDIS_URL"] = addresses(settings.ZENITH_DATA_DIR).worker_redis_url
    return {**emptied, **given}


def engine(manage: Path) -> Program:
    """Relay, recorder, reconciler and schedule; it outlives the worker, to record the worker's last steps."""
    return Program("engine", (sys.executable, str(manage), "run_engine"), stop_order=1)


def agent(manage: Path) -> Program:
    """The agent of the Docker host that this machine is; its nodes go on running without it."""
    return Program("agent", (sys.executable, str(manage), "run_agent"))


def first_batch(manage: Path) -> Program:
    """The ten tasks that an empty database starts with."""
    return Program("batch", (sys.executable, str(manage), "first_batch"), lasting=False)


def _allow_root() -> dict[str, str]:
    # Celery warns root of pickled messages, which this project does not accept.
    return {"PYTHONWARNINGS": "ignore:You're running the worker with superuser"} if os.geteuid() == 0 else {}
