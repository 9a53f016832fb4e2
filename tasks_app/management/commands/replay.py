"""`manage.py replay`: send new tasks in the place of dead ones."""

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from tasks_app.api.dead_letter_schemas import ReplayAnswer
from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import MAX_FIRST, Replay, Replayed, matching, replay
from tasks_app.errors import InvalidDispatchError
from tasks_app.models.dead_letter import Selection
from zenith_worker.wire.ids import key_meant

#: Exit statuses: nothing to replay, and input that cannot be accepted.
NOTHING: Final = 1
WRONG: Final = 2


class Command(BaseCommand):
    """Replay dead letters; the exit status is 1 where there was nothing to replay."""

    help = "Replay dead letters: send a new task in the place of each dead one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which letters are meant, and how to replay them."""
        parser.add_argument("ids", nargs="*", metavar="ID", type=key_meant, help="ids of dead tasks")
        parser.add_argument("--group", default="", metavar="FP", help="those of one group, by its fingerprint")
        parser.add_argument("--all", action="store_true", help="all that are open")
        parser.add_argument("--task", default="", help="only those of tasks of this name")
        parser.add_argument("--error", default="", help="only those of this exception, such as ValueError")
        parser.add_argument(
            "--first", type=int, default=0, metavar="N", help=f"so many first (to {MAX_FIRST:,}); the rest if these succeed"
        )
        parser.add_argument("--rate", type=float, metavar="R", help="tasks per second at most")
        parser.add_argument("--kwargs", type=_object, default={}, metavar="JSON", help="instead of the arguments of these names")
        parser.add_argument("--force", action="store_true", help="also what was replayed or discarded before")
        parser.add_argument("--dry-run", action="store_true", help="only say how many it would be")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, replay, and say what was done. Raises CommandError."""
        asked = Replay(
            which=_selection(options), kwargs=options["kwargs"], first=options["first"], rate=options["rate"],
            forced=options["force"],
        )  # fmt: skip
        count = matching(asked.which, forced=asked.forced).count()
        if not count:
            raise CommandError("no dead letter matches, or each was replayed or discarded before", returncode=NOTHING)
        if options["dry_run"]:
            self.stdout.write(json.dumps({"matching": count}) if options["json"] else f"{count:,} dead letters would be replayed")
            return
        self._confirm(count, options)
        try:
            result = replay(asked, Origin(source="command", sent_by=os.environ.get("USER", "")))
        except InvalidDispatchError as error:
            lines = [f"{item.pointer or '/'}: {item.detail}" for item in error.problems]
            raise CommandError("nothing was replayed:\n  " + "\n  ".join(lines), returncode=WRONG) from None
        self._report(result, as_json=options["json"])

    def _confirm(self, count: int, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"{count:,} dead letters match; add --yes to replay them without being asked", returncode=WRONG)
        question = f"Replay {count:,} dead letter{'s' if count > 1 else ''}? [y/N] "
        if input(question).strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was replayed", returncode=NOTHING)

    def _report(self, result: Replayed, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(ReplayAnswer.of(result).model_dump_json())
        elif result.run:
            first = f"the first {result.run.first:,} now, the rest if these succeed" if result.run.first else "a few at a time"
            self.stdout.write(f"The engine replays {result.run.total:,} dead letters, {first}: run {result.run.id}")
        else:
            for item in result.done:
                self.stdout.write(f"{item.dead} -> {item.new}")
            self.stdout.write(f"{len(result.done):,} replayed")


def _selection(options: dict[str, Any]) -> Selection:
    """Return what is meant. Raises CommandError unless it is said in exactly one way."""
    if bool(options["ids"]) + bool(options["group"]) + options["all"] != 1:
        raise CommandError("say which: ids, --group or --all", returncode=WRONG)
    return Selection(
        task_ids=tuple(options["ids"]) or None, fingerprint=options["group"], task_name=options["task"],
        error_type=options["error"],
    )  # fmt: skip


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
