"""`manage.py prepare`: brings the database and the static files up to date, and creates the first admin."""

from __future__ import annotations

import json
from typing import Any

import redis
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection

from zenith_site.env import without_password
from zenith_site.launch.programs import EXPLAINED
from zenith_site.launch.static_files import collect_if_changed


class Command(BaseCommand):
    """Migrates, collects static files if they changed, creates the first admin and its API token."""

    help = "Migrate, collect static files if they changed, create the first admin. `up` runs this before it starts the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="print the login as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare everything."""
        from zenith_site.auth.bootstrap import ensure_admin

        require_servers()
        call_command("migrate", interactive=False, verbosity=0)
        collect_if_changed()
        try:
            username, password, api_key = ensure_admin()
            if settings.ZENITH_WATCH:
                call_command("watch", configured=True)
        except CommandError as error:
            raise CommandError(str(error), returncode=EXPLAINED) from None
        empty = not apps.get_model("tasks_app", "Task")._default_manager.exists()
        if options["json"]:
            login = {"username": username, "password": password, "api_key": api_key, "empty": empty}
            self.stdout.write(json.dumps(login))
        else:
            self.stdout.write(f"Ready: the first admin is {username}.")


def require_servers() -> None:
    """Check that PostgreSQL and Redis answer.

    Raises:
        CommandError: if one does not answer; names its variable and its address without the password.
    """
    try:
        connection.ensure_connection()
    except OperationalError as error:
        place = "{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
        raise _unreachable("DATABASE_URL", f"PostgreSQL at {place}", error) from None
    try:
        with redis.Redis.from_url(settings.ZENITH_REDIS_URL, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except redis.RedisError as error:
        raise _unreachable("REDIS_URL", f"Redis at {without_password(settings.ZENITH_REDIS_URL)}", error) from None


def _unreachable(variable: str, server: str, error: Exception) -> CommandError:
    reason = " ".join(str(error).split())
    return CommandError(f"{server} cannot be reached: check {variable}. Error: {reason}", returncode=EXPLAINED)
