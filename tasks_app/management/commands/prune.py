"""`manage.py prune`: remove what is past its retention now, instead of within the hour."""

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
    """Apply the engine's retention rules; the exit status is 1 if there was nothing to remove."""

    help = (
        "Remove finished tasks, dead letters, figures and other rows that are past their retention. "
        "The engine does the same every hour. Rows are removed in chunks, so dispatching and recording continue meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare which rules to apply, and how."""
        names = [rule.name for rule in retention.rules()]
        parser.add_argument(
            "--only", action="append", choices=names, metavar="WHAT", help=f"prune only this; may be repeated: {', '.join(names)}"
        )
        parser.add_argument("--dry-run", action="store_true", help="only print how many rows would be removed")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count the rows, ask, remove them, and print how many were removed. Raises CommandError."""
        rules = [rule for rule in retention.rules() if not options["only"] or rule.name in options["only"]]
        counts = {rule.name: rule.count() if rule.count else None for rule in rules}
        if options["dry_run"]:
            self._report(counts, rules, "would be removed", as_json=options["json"])
        elif not any(count != 0 for count in counts.values()):
            self._report(counts, rules, "removed", as_json=options["json"])
            raise CommandError("nothing is past its retention", returncode=NOTHING)
        else:
            self._confirm(sum(filter(None, counts.values())), skip=options["yes"])
            started = time.monotonic()
            removed = {rule.name: self._prune(rule, counts[rule.name], quiet=options["json"]) for rule in rules}
            self._report(removed, rules, "removed", as_json=options["json"], seconds=time.monotonic() - started)

    def _confirm(self, total: int, *, skip: bool) -> None:
        if skip:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"at least {total:,} rows would be removed; add --yes to skip this question", returncode=WRONG)
        if input(f"Remove {total:,} rows and everything that belongs to them? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was removed", returncode=NOTHING)

    def _prune(self, rule: Rule, expected: int | None, *, quiet: bool) -> int:
        show_bar = not quiet and bool(expected) and sys.stderr.isatty()
        removed = 0
        for rows in rule.prune():
            removed += rows
            if show_bar and expected:
                filled = "█" * min(BAR, BAR * removed // expected)
                self.stderr.write(f"\r{filled:░<{BAR}} {removed:,}/{expected:,} {rule.name}", ending="")
        if show_bar:
            self.stderr.write("")
        return removed

    def _report(
        self,
        counts: dict[str, int | None] | dict[str, int],
        rules: list[Rule],
        outcome: str,
        *,
        as_json: bool,
        seconds: float = 0.0,
    ) -> None:
        if as_json:
            self.stdout.write(json.dumps({"rows": counts, "seconds": round(seconds, 3), "dry_run": outcome != "removed"}))
            return
        for rule in rules:
            count = counts[rule.name]
            number = "?" if count is None else f"{count:,}"
            self.stdout.write(f"{number:>12} {rule.name} {outcome}  ({rule.sentence})".rstrip(" ()"))
