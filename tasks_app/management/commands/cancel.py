"""`manage.py cancel`: cancel tasks by id or by filter."""

import json
import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from tasks_app.dispatch.cancel import cancel
from tasks_app.models import Task
from zenith_worker.wire.ids import key_meant
from zenith_worker.wire.states import OPEN


class Command(BaseCommand):
    """Cancel tasks that are not finished; asks first, naming the count."""

    help = "Cancel tasks that are not finished, by id or by filter."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids or a filter."""
        parser.add_argument("ids", nargs="*", type=key_meant, metavar="ID", help="tasks to cancel")
        parser.add_argument("--task", help="all open tasks of this name")
        parser.add_argument("--queue", help="all open tasks on this queue")
        parser.add_argument("--status", type=str.upper, choices=sorted(OPEN), help="all tasks in this status")
        parser.add_argument("--all", action="store_true", help="all open tasks")
        parser.add_argument("--force", action="store_true", help="also kill what runs")
        parser.add_argument("--dry-run", action="store_true", help="only say how many")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Cancel, after asking. Raises CommandError where nothing was named or confirmed."""
        ids = list(_chosen(options).order_by("id").values_list("id", flat=True))
        if options["dry_run"]:
            self._say({"would_cancel": len(ids)}, options["json"])
            return
        if ids and not options["yes"] and input(f"Cancel {len(ids)} tasks? [y/N] ").strip().lower() != "y":
            raise CommandError("nothing was cancelled", returncode=1)
        done = cancel(ids, by=os.environ.get("USER", ""), force=options["force"])
        self._say({"revoked": done.revoked, "running": done.running, "finished": done.finished}, options["json"])

    def _say(self, numbers: dict[str, int], as_json: bool) -> None:
        words = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers.items())
        self.stdout.write(json.dumps(numbers) if as_json else words)


def _chosen(options: dict[str, Any]) -> QuerySet[Task]:
    tasks = Task.objects.filter(status__in=OPEN)
    filters = {"name": options["task"], "queue": options["queue"], "status": options["status"]}
    given = {name: value for name, value in filters.items() if value}
    if options["ids"]:
        given["id__in"] = options["ids"]
    if not given and not options["all"]:
        raise CommandError("name ids, a filter, or --all", returncode=2)
    return tasks.filter(**given)
