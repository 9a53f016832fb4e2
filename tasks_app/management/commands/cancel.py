"""`manage.py cancel`: cancel tasks by id or by filter."""

import json
import os
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from tasks_app.dispatch.cancel import cancel
from tasks_app.errors import CommandWithdrawnError, WorkerSilentError
from tasks_app.models import Task
from tasks_app.models.task_keys import tasks_meant
from zenith_site.common.errors import StateConflictError
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import OPEN


class Command(BaseCommand):
    """Cancel open tasks, after a prompt that names their number."""

    help = "Cancel tasks that have not finished, by id or by filter."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare ids and filters."""
        parser.add_argument("ids", nargs="*", metavar="ID", help="ids of the tasks to cancel")
        parser.add_argument("--application", default=NATIVE_NAME, help="tasks of this application (default: Zenith's own)")
        parser.add_argument("--task", help="all open tasks with this name")
        parser.add_argument("--queue", help="all open tasks on this queue")
        parser.add_argument("--status", type=str.upper, choices=sorted(OPEN), help="all tasks in this status")
        parser.add_argument("--all", action="store_true", help="all open tasks")
        parser.add_argument("--force", action="store_true", help="also kill running tasks")
        parser.add_argument("--dry-run", action="store_true", help="only print how many tasks would be cancelled")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Cancel the tasks, after asking. Raises CommandError if none was named, or if the user declined."""
        ids = list(_selected_tasks(options).order_by("id").values_list("id", flat=True))
        if options["dry_run"]:
            self._print({"would_cancel": len(ids)}, f"{len(ids)} tasks would be cancelled", as_json=options["json"])
            return
        if ids and not options["yes"] and input(f"Cancel {len(ids)} tasks? [y/N] ").strip().lower() != "y":
            raise CommandError("nothing was cancelled", returncode=1)
        try:
            result = cancel(ids, by=os.environ.get("USER", ""), force=options["force"])
        except (StateConflictError, CommandWithdrawnError, WorkerSilentError) as error:
            raise CommandError(str(error), returncode=1) from error
        counts: dict[str, object] = {"revoked": result.revoked, "running": result.running, "finished": result.finished}
        words = ", ".join(f"{count} {name}" for name, count in counts.items())
        if result.requested:
            counts["requested"] = result.requested
            words += f", {result.requested} passed on to their applications"
        if result.problems:
            counts["problems"] = result.problems
            words = "\n".join([words, *result.problems])
        self._print(counts, words, as_json=options["json"])

    def _print(self, counts: Mapping[str, object], words: str, *, as_json: bool) -> None:
        self.stdout.write(json.dumps(counts) if as_json else words)


def _selected_tasks(options: dict[str, Any]) -> QuerySet[Task]:
    filters = {"name": options["task"], "queue": options["queue"], "status": options["status"]}
    conditions = {name: value for name, value in filters.items() if value}
    if not conditions and not options["ids"] and not options["all"]:
        raise CommandError("give task ids, a filter, or --all", returncode=2)
    tasks = Task.objects.filter(status__in=OPEN, **conditions)
    if options["ids"]:
        # A task that is named is meant, whatever its application.
        return tasks.filter(id__in=[task.id for text in options["ids"] if (task := tasks_meant(text).only("id").first())])
    return tasks.filter(application__name=options["application"])
