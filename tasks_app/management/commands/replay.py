"""`manage.py replay`: dispatch new tasks in place of dead ones."""

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from tasks_app.api.dead_letter_schemas import ReplayAnswer
from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import MAX_FIRST, Replay, Replayed, replay, replayable_letters
from tasks_app.errors import InvalidDispatchError
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.dead_letters import keys_named

#: Exit statuses: nothing to replay, and input that cannot be accepted.
NOTHING: Final = 1
WRONG: Final = 2


class Command(BaseCommand):
    """Replay dead letters; the exit status is 1 if there was nothing to replay."""

    help = "Replay dead letters: dispatch a new task in place of each dead one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare which letters to replay, and how."""
        parser.add_argument("ids", nargs="*", metavar="ID", help="ids of dead tasks")
        parser.add_argument("--group", default="", metavar="FP", help="the open dead letters of one group, by its fingerprint")
        parser.add_argument("--all", action="store_true", help="all open dead letters")
        parser.add_argument("--task", default="", help="only dead letters of tasks with this name")
        parser.add_argument("--error", default="", help="only dead letters with this exception, such as ValueError")
        parser.add_argument(
            "--application", default="", metavar="NAME", help="only dead letters of the application with this name"
        )
        parser.add_argument(
            "--first", type=int, default=0, metavar="N",
            help=f"replay N first (up to {MAX_FIRST:,}), and the rest only if all of these succeed",
        )  # fmt: skip
        parser.add_argument("--rate", type=float, metavar="R", help="replay at most R tasks per second")
        parser.add_argument(
            "--kwargs", type=_object, default={}, metavar="JSON", help="arguments that replace those of the same name"
        )
        parser.add_argument(
            "--force", action="store_true", help="also replay dead letters that were replayed or discarded before"
        )
        parser.add_argument("--dry-run", action="store_true", help="only print how many dead letters would be replayed")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, replay, and print the result. Raises CommandError."""
        request = Replay(
            selection=_selection(options), kwargs=options["kwargs"], first=options["first"], rate=options["rate"],
            forced=options["force"],
        )  # fmt: skip
        count = replayable_letters(request.selection, forced=request.forced).count()
        if not count:
            raise CommandError("no dead letter matches, or all that match were already replayed or discarded", returncode=NOTHING)
        if options["dry_run"]:
            self.stdout.write(json.dumps({"matching": count}) if options["json"] else f"{count:,} dead letters would be replayed")
            return
        self._confirm(count, options)
        try:
            result = replay(request, Origin(source="command", sent_by=os.environ.get("USER", "")))
        except InvalidDispatchError as error:
            lines = [f"{item.pointer or '/'}: {item.detail}" for item in error.problems]
            raise CommandError("nothing was replayed:\n  " + "\n  ".join(lines), returncode=WRONG) from None
        self._report(result, as_json=options["json"])

    def _confirm(self, count: int, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"{count:,} dead letters match; add --yes to skip this question", returncode=WRONG)
        question = f"Replay {count:,} dead letter{'s' if count > 1 else ''}? [y/N] "
        if input(question).strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was replayed", returncode=NOTHING)

    def _report(self, result: Replayed, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(ReplayAnswer.of(result).model_dump_json())
        elif result.run:
            pace = f"{result.run.first:,} now, and the rest if all of these succeed" if result.run.first else "a few at a time"
            self.stdout.write(f"The engine is replaying {result.run.total:,} dead letters, {pace}: run {result.run.id}")
        else:
            for item in result.done:
                self.stdout.write(f"{item.dead} -> {item.new}")
            self.stdout.write(f"{len(result.done):,} replayed")


def _selection(options: dict[str, Any]) -> Selection:
    """Return the requested dead letters. Raises CommandError unless exactly one of ids, --group and --all is given."""
    if bool(options["ids"]) + bool(options["group"]) + options["all"] != 1:
        raise CommandError("say which dead letters: ids, --group or --all", returncode=WRONG)
    return Selection(
        task_ids=keys_named(options["ids"], options["application"]) or None, fingerprint=options["group"],
        task_name=options["task"], error_type=options["error"], application=options["application"],
    ).exact()  # fmt: skip


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
