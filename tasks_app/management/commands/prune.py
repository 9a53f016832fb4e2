"""`manage.py prune`: remove what is older than its retention, now instead of within the hour."""

import json
import sys
import time
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from tasks_app.maintenance import retention
from zenith_site.common.retention import Rule

#: Exit statuses: nothing to remove, and input that cannot be accepted.
NOTHING: Final = 1
WRONG: Final = 2
BAR: Final = 30


class Command(BaseCommand):
    """Follow the engine's rules of retention; the exit status is 1 where nothing was to be removed."""

    help = (
        "Remove finished tasks, dead letters, figures and the rest that is older than the settings keep it. "
        "An engine does the same every hour. Chunk by chunk: dispatching and recording go on meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which rules to follow, and how."""
        names = [rule.name for rule in retention.rules()]
        parser.add_argument(
            "--only", action="append", choices=names, metavar="WHAT", help=f"only these; may be repeated: {', '.join(names)}"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many rows it would be")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count, ask, remove, and say what was removed. Raises CommandError."""
        wanted = [rule for rule in retention.rules() if not options["only"] or rule.name in options["only"]]
        counts = {rule.name: rule.count() if rule.count else None for rule in wanted}
        if options["dry_run"]:
            self._tell(counts, wanted, "would be removed", as_json=options["json"])
        elif not any(count != 0 for count in counts.values()):
            self._tell(counts, wanted, "removed", as_json=options["json"])
            raise CommandError("nothing is older than it is kept", returncode=NOTHING)
        else:
            self._confirm(sum(filter(None, counts.values())), asked=not options["yes"])
            started = time.monotonic()
            removed = {rule.name: self._prune(rule, counts[rule.name], quiet=options["json"]) for rule in wanted}
            self._tell(removed, wanted, "removed", as_json=options["json"], seconds=time.monotonic() - started)

    def _confirm(self, total: int, *, asked: bool) -> None:
        if not asked:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                f"{total:,} rows or more would be removed; add --yes to do it without being asked", returncode=WRONG
            )
        if input(f"Remove {total:,} rows, and what belongs to them? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was removed", returncode=NOTHING)

    def _prune(self, rule: Rule, expected: int | None, *, quiet: bool) -> int:
        show = not quiet and bool(expected) and sys.stderr.isatty()
        removed = 0
        for rows in rule.prune():
            removed += rows
            if show and expected:
                filled = "█" * min(BAR, BAR * removed // expected)
                self.stderr.write(f"\r{filled:░<{BAR}} {removed:,}/{expected:,} {rule.name}", ending="")
        if show:
            self.stderr.write("")
        return removed

    def _tell(
        self,
        counts: dict[str, int | None] | dict[str, int],
        wanted: list[Rule],
        done: str,
        *,
        as_json: bool,
        seconds: float = 0.0,
    ) -> None:
        if as_json:
            self.stdout.write(json.dumps({"rows": counts, "seconds": round(seconds, 3), "dry_run": done != "removed"}))
            return
        for rule in wanted:
            count = counts[rule.name]
            self.stdout.write(f"{'?' if count is None else f'{count:,}':>12} {rule.name} {done}  ({rule.sentence})".rstrip(" ()"))
