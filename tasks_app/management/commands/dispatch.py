"""`manage.py dispatch TASK`: dispatch tasks from a terminal."""

import json
import os
import sys
import time
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from tasks_app.dispatch.create import MAX_COUNT, Dispatch, Dispatched, Origin, dispatch
from tasks_app.errors import DrillsOffError, InvalidDispatchError
from tasks_app.models import Task
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import TERMINAL, Status

BAR: Final = 30


class Command(BaseCommand):
    """Dispatch tasks; the exit status says whether they were accepted, and with --wait whether all succeeded."""

    help = "Dispatch one task or many."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what the API's trigger accepts."""
        parser.add_argument("task", help="name of the task, such as analyze_text")
        parser.add_argument("--application", default=NATIVE_NAME, help="the application that runs it (default: Zenith's own)")
        parser.add_argument(
            "--count", type=int, help=f"number of tasks (1 to {MAX_COUNT:,}; default 1, or one per line with --lines)"
        )
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--data", help="the task's first argument: JSON; anything else is taken as text")
        source.add_argument("--file", type=Path, help="a UTF-8 file whose text is the task's first argument")
        source.add_argument("--lines", type=Path, help="a UTF-8 file; each line that is not empty becomes one task")
        parser.add_argument("--kwargs", type=_object, default={}, help="keyword arguments as a JSON object")
        parser.add_argument("--queue", help="send to this queue instead of the task's own")
        parser.add_argument("--priority", type=int, help="0 to 9")
        parser.add_argument("--at", type=_moment, help="hold back until this ISO 8601 time, such as 2030-01-31T09:00:00Z")
        parser.add_argument("--max-retries", type=int, help="retry this many times instead of the task's own number")
        parser.add_argument("--time-limit", type=int, help="kill the task's process after this many seconds")
        parser.add_argument("--soft-time-limit", type=int, help="raise SoftTimeLimitExceeded in the task after this many seconds")
        parser.add_argument("--expires", type=_moment, help="do not start the task after this ISO 8601 time")
        parser.add_argument(
            "--wait", action="store_true", help="wait until every task has finished; exit with status 1 unless all succeeded"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Dispatch the tasks, print the batch, and wait for it with --wait. Raises CommandError."""
        request = Dispatch(
            task=options["task"], application=options["application"], count=options["count"], data=_data(options),
            kwargs=options["kwargs"],
            queue=options["queue"], priority=options["priority"], not_before=options["at"],
            max_retries=options["max_retries"], time_limit=options["time_limit"],
            soft_time_limit=options["soft_time_limit"], expires_at=options["expires"],
        )  # fmt: skip
        try:
            batch = dispatch(request, Origin(source="command", sent_by=os.environ.get("USER", "")))
        except InvalidDispatchError as error:
            lines = [f"{item.pointer or '/'}: {item.detail}" for item in error.problems]
            raise CommandError("nothing was dispatched:\n  " + "\n  ".join(lines), returncode=2) from None
        except DrillsOffError as error:
            raise CommandError(f"nothing was dispatched: {error}", returncode=2) from None
        counts = self._wait(batch, quiet=options["json"]) if options["wait"] else {}
        self._report(batch, counts, as_json=options["json"])
        if counts.get(Status.SUCCESS, 0) < len(batch.ids) and options["wait"]:
            raise CommandError("not every task succeeded", returncode=1)

    def _report(self, batch: Dispatched, counts: dict[str, int], *, as_json: bool) -> None:
        if as_json:
            body = {"batch_id": str(batch.batch_id), "ids": [str(id_) for id_ in batch.celery_ids], "by_status": counts}
            self.stdout.write(json.dumps(body))
            return
        self.stdout.write(f"{len(batch.ids)} dispatched as batch {batch.batch_id}")
        if counts:
            self.stdout.write(", ".join(f"{number} {status}" for status, number in sorted(counts.items())))

    def _wait(self, batch: Dispatched, *, quiet: bool) -> dict[str, int]:
        """Wait until every task has finished, with a progress bar at a terminal; return the counts by status."""
        show_bar = not quiet and sys.stderr.isatty()
        while True:
            rows = Task.objects.filter(batch_id=batch.batch_id).order_by().values_list("status").annotate(Count("id"))
            counts: dict[str, int] = dict(rows)
            finished = sum(counts.get(status, 0) for status in TERMINAL)
            if show_bar:
                filled = "█" * (BAR * finished // len(batch.ids))
                self.stderr.write(f"\r{filled:░<{BAR}} {finished}/{len(batch.ids)}", ending="")
            if finished == len(batch.ids):
                if show_bar:
                    self.stderr.write("")
                return counts
            time.sleep(0.2)


def _data(options: dict[str, Any]) -> Any:
    if options["data"] is not None:
        try:
            return json.loads(options["data"])
        except ValueError:
            return options["data"]
    path: Path | None = options["file"] or options["lines"]
    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}", returncode=2) from None
    return text if options["file"] else [line for line in text.splitlines() if line.strip()]


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
