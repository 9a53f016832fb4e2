"""`manage.py logs`: print what a task logged, and follow it."""

import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from tasks_app.api.task_log_schemas import LogLineAnswer
from tasks_app.models import Task
from tasks_app.models.task_keys import tasks_meant
from tasks_app.queries.task_logs import LEVELS, LogFilter, TaskLogLine, as_text, read_forward, read_newest

#: Seconds between two reads, and for which lines may still come after the task's end.
_READ_EVERY: Final = 0.5
_TRAILING: Final = 2.0
#: Lines read at once.
_PAGE: Final = 1000


class Command(BaseCommand):
    """Print a task's newest lines."""

    help = "Print what a task logged. With --follow, keep printing new lines until the task has ended."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the task, and which lines."""
        parser.add_argument("id", metavar="ID", help="id of the task")
        parser.add_argument("--follow", "-f", action="store_true", help="keep printing new lines until the task has ended")
        parser.add_argument("--lines", "-n", type=int, default=_PAGE, help=f"number of newest lines to print (default {_PAGE})")
        parser.add_argument("--level", choices=LEVELS, help="only lines of this level or a higher one")
        parser.add_argument("--attempt", type=int, help="only lines of this attempt, from 1")
        parser.add_argument("--q", default="", help="only lines with this text")
        parser.add_argument("--json", action="store_true", help="print one JSON object per line")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print lines. Raises CommandError if there is no such task."""
        task = tasks_meant(options["id"]).defer("args", "kwargs").first()
        if task is None:
            raise CommandError(f"there is no task {options['id'][:100]!r}", returncode=1)
        only = LogFilter(options["level"], options["attempt"], options["q"])
        page = read_newest(task, limit=max(options["lines"], 1), only=only)
        self._print(page.lines, as_json=options["json"])
        if options["follow"]:
            with suppress(KeyboardInterrupt):
                self._follow(task, page.after, only, as_json=options["json"])
        elif not page.lines:
            self.stderr.write("No line. A task's lines are kept for ZENITH_TASK_LOG_DAYS, from the level ZENITH_TASK_LOGS on.")

    def _follow(self, task: Task, after: str, only: LogFilter, *, as_json: bool) -> None:
        ends_at = float("inf")
        while True:
            page = read_forward(task, after, _PAGE, only)
            self._print(page.lines, as_json=as_json)
            after = page.after
            if task.finished_at is not None and ends_at == float("inf"):
                ends_at = time.monotonic() + _TRAILING
            if not page.more:
                if time.monotonic() >= ends_at:
                    return
                time.sleep(_READ_EVERY)
                task.refresh_from_db(fields=["finished_at"])

    def _print(self, lines: Sequence[TaskLogLine], *, as_json: bool) -> None:
        for line in lines:
            self.stdout.write(LogLineAnswer.of(line).model_dump_json() if as_json else as_text(line))
