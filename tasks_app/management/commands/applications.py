"""`manage.py applications`: list Zenith's own application and those whose workers report to it."""

import json
from argparse import ArgumentParser
from typing import Any

import redis
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from tasks_app.api.applications import ApplicationAnswer
from tasks_app.queries import applications
from tasks_app.queries.applications import ApplicationView
from zenith_site.common.humanize import whole_duration


class Command(BaseCommand):
    """Print applications."""

    help = "List applications: Zenith's own, and those whose workers report to it. Fails if Redis is unreachable."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the output's form."""
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the applications. Raises CommandError if Redis is unreachable, so that workers are not known."""
        try:
            views = applications.applications()
        except redis.RedisError as error:
            raise CommandError(f"Redis is unreachable: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps([ApplicationAnswer.of(view).model_dump(mode="json") for view in views], indent=2))
            return
        for view in views:
            self.stdout.write(_line(view))
        if all(view.application.is_native for view in views):
            self.stdout.write("No application is attached. docs/attach.md has the five commands that attach one.")


def _line(view: ApplicationView) -> str:
    row = view.application
    heard = f"heard {_ago(view)}" if row.last_heard_at else "never heard"
    tasks = "" if view.tasks is None else f"{view.tasks:,}{'+' if view.is_capped else ''} tasks"
    versions = f"Celery {row.celery_version or '-'}, Python {row.python_version or '-'}"
    return f"{row.name:24}  {row.kind:8}  {view.online:4} online  {tasks:>14}  {heard:20}  {versions}  {row.main!r}".rstrip()


def _ago(view: ApplicationView) -> str:
    heard_at = view.application.last_heard_at
    return f"{whole_duration(max(0.0, (timezone.now() - heard_at).total_seconds()))} ago" if heard_at else ""
