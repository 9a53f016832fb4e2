"""`manage.py tasks`: list the newest tasks."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from pydantic import ValidationError

from tasks_app.api.schemas import TaskAnswer
from tasks_app.queries.tasks import TaskFilter
from tasks_app.search.parameters import DEFAULT_LIMIT
from zenith_worker.wire.states import STATUSES


class Command(BaseCommand):
    """Print tasks, newest first."""

    help = "List tasks, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the list's filters."""
        parser.add_argument("--status", type=str.upper, choices=STATUSES, help="only tasks in this status")
        parser.add_argument("--task", default="", help="only tasks with this name")
        parser.add_argument("--application", default="", metavar="NAME", help="only tasks of the application with this name")
        parser.add_argument("--q", default="", help="only tasks that match this search, such as queue:reports since:1h")
        parser.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help=f"number of tasks (default {DEFAULT_LIMIT})")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the tasks. Raises CommandError if a filter is invalid."""
        names = ("status", "task", "application", "q", "limit")
        try:
            page = TaskFilter(**{name: options[name] for name in names if options[name]}).page(unmasked=True)
        except ValidationError as error:
            raise CommandError("; ".join(f"--{item['loc'][0]}: {item['msg']}" for item in error.errors())) from None
        if options["json"]:
            rows = [TaskAnswer.of(item).model_dump(mode="json") for item in page.tasks]
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for item in page.tasks:
            task = item.task
            runtime = "" if task.runtime is None else f"{task.runtime:.3f} s"
            columns = f"{task.celery_id}  {task.status:9}  {task.name:24}  {task.worker or '-':24}"
            self.stdout.write(f"{columns}  {runtime:>10}  {item.error or ''}".rstrip())
        if not page.tasks:
            self.stdout.write("No task matches. `manage.py dispatch analyze_text` starts one.")
