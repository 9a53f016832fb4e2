"""`manage.py up`: runs everything on this machine, with one command."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

OPTIONS = ("host", "port", "concurrency", "no_worker", "no_engine", "no_agent", "no_first_batch")


class Command(BaseCommand):
    """Starts the servers that are not configured, then web, worker, engine and agent, and keeps them running."""

    help = "Start PostgreSQL and Redis if none is configured, then web, worker, engine and agent. Ctrl-C stops everything."
    # The database that Django's checks need is not running yet.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--host", default=settings.ZENITH_HOST, help="address to listen on (%(default)s)")
        parser.add_argument("--port", type=_bounded(65535), default=settings.ZENITH_PORT, help="port to listen on (%(default)s)")
        parser.add_argument(
            "--concurrency",
            type=_bounded(1000),
            default=settings.ZENITH_WORKER_CONCURRENCY,
            help="tasks that run at the same time (%(default)s)",
        )
        parser.add_argument("--no-worker", action="store_true", help="start no worker, and run no first batch")
        parser.add_argument("--no-engine", action="store_true", help="start no engine, and run no first batch")
        parser.add_argument("--no-agent", action="store_true", help="start no agent, even if a Docker Engine answers")
        parser.add_argument("--no-first-batch", action="store_true", help="run no tasks on an empty database")
        parser.add_argument(
            "--watch", action="append", default=[], metavar="URL",
            help="watch the Celery application at this broker, under a name made of the URL, or of your choice with NAME=URL;"
            " may be repeated. With a password, better in ZENITH_WATCH",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        """Become `python -m zenith_site.launch`, which is less than half the size: this process has loaded all of Django."""
        launch_options = {name: options[name] for name in OPTIONS}
        if options["watch"]:
            # Not as an option: everybody can read a command line.
            os.environ["ZENITH_WATCH"] = " ".join([settings.ZENITH_WATCH, *options["watch"]]).strip()
            os.environ.pop("ZENITH_WATCH_FILE", None)
        sys.stdout.flush()
        # Python finds the package there; the command may run in any directory.
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, [sys.executable, "-m", "zenith_site.launch", json.dumps(launch_options)])  # noqa: S606


def _bounded(maximum: int) -> Any:
    """Return a parser of whole numbers from 1 to the maximum."""

    def parse(value: str) -> int:
        if not value.isdigit() or not 1 <= int(value) <= maximum:
            raise ArgumentTypeError(f"{value!r} is not accepted: it takes a whole number from 1 to {maximum}")
        return int(value)

    return parse
