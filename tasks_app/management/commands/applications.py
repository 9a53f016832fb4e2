"""`manage.py applications`: list Zenith's own application and those whose workers report to it, or add one."""

import json
from argparse import ArgumentParser
from typing import Any

import redis
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from tasks_app.api.applications import ApplicationAnswer
from tasks_app.control.applications import add
from tasks_app.queries import applications
from tasks_app.queries.applications import ApplicationView
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.humanize import whole_duration


class Command(BaseCommand):
    """Print applications, or add one."""

    help = (
        "List applications: Zenith's own, and those whose workers report to it. `add NAME` gives an application a user in"
        " Zenith's Redis, which can write nothing else, and prints the line to set in its environment. Fails if Redis is"
        " unreachable."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what to do and the output's form."""
        parser.add_argument("action", nargs="?", choices=("list", "add"), default="list", help="default: list")
        parser.add_argument("name", nargs="?", help="with add: lower-case letters, digits, and hyphens between them")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the applications or add one. Raises CommandError for a wrong name, and if Redis is unreachable."""
        if options["action"] == "add":
            self._add(options["name"] or "", as_json=options["json"])
            return
        if options["name"]:
            raise CommandError("A name goes with add.")
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

    def _add(self, name: str, *, as_json: bool) -> None:
        try:
            url = add(name)
        except InvalidInputError as error:
            raise CommandError("; ".join(problem.detail for problem in error.problems)) from None
        except redis.RedisError as error:
            raise CommandError(f"Redis is unreachable: {error}") from None
        if as_json:
            self.stdout.write(json.dumps({"name": name, "url": url}))
            return
        self.stderr.write(
            f"{name} has a user in Zenith's Redis. Set this line, which has its password, in the environment of its workers; host"
            " and port are those that Zenith itself uses:"
        )
        self.stdout.write(f"export ZENITH_URL='{url}' ZENITH_APPLICATION={name}")


def _line(view: ApplicationView) -> str:
    row = view.application
    heard = f"heard {_ago(view)}" if row.last_heard_at else "never heard"
    tasks = "" if view.tasks is None else f"{view.tasks:,}{'+' if view.is_capped else ''} tasks"
    versions = f"Celery {row.celery_version or '-'}, Python {row.python_version or '-'}"
    line = f"{row.name:24}  {row.kind:8}  {view.online:4} online  {tasks:>14}  {heard:20}  {versions}  {row.main!r}"
    return f"{line}  {_guards(view)}".rstrip()


def _guards(view: ApplicationView) -> str:
    guards = view.guards
    if guards is None or not guards.workers:
        return ""
    told = f"guards: {', '.join(guards.shared) or 'none'}"
    return f"{told} (only on some workers: {', '.join(guards.partial)})" if guards.partial else told


def _ago(view: ApplicationView) -> str:
    heard_at = view.application.last_heard_at
    return f"{whole_duration(max(0.0, (timezone.now() - heard_at).total_seconds()))} ago" if heard_at else ""
