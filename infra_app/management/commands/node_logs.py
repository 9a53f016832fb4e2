"""`manage.py node_logs`: read a node's log, and follow it."""

import json
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from infra_app import logs
from infra_app.log_stream import MAX_LINES
from infra_app.logs import Lines
from infra_app.management import cli
from infra_app.models import Node

#: Seconds that a node's host has to send the first lines, and between two looks.
_FIRST: Final = 5.0
_LOOK_EVERY: Final = 0.5


class Command(BaseCommand):
    """Print the newest lines of a node's log; of one whose container has ended, those that were kept."""

    help = "Print a node's log, and follow it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which node, and how much."""
        parser.add_argument("node", help="its name or id; a removed one by its id")
        parser.add_argument("--follow", "-f", action="store_true", help="go on printing what comes, until Ctrl-C")
        parser.add_argument(
            "--lines", "-n", type=int, default=200, help=f"how many of the newest (default 200, to {MAX_LINES:,})"
        )
        parser.add_argument("--json", action="store_true", help="print a JSON object a line")

    def handle(self, *args: Any, node: str, follow: bool, lines: int, **options: Any) -> None:
        """Print lines. Raises CommandError where there are none."""
        (found,) = cli.find_nodes([node], gone=True)
        limit = min(max(lines, 1), MAX_LINES)
        deadline = time.monotonic() + _FIRST
        seen = logs.read(found, limit=limit)
        while not seen.entries and found.status not in logs.ENDED and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
            seen = logs.read(found, limit=limit)
        self._print(seen, as_json=options["json"])
        if not seen.entries and not follow:
            raise CommandError(f"{found.name} has no lines, or its host does not send them", returncode=cli.NOTHING)
        if follow:
            with suppress(KeyboardInterrupt):
                self._follow(found, seen.after, as_json=options["json"])

    def _follow(self, found: Node, after: str, *, as_json: bool) -> None:
        while found.status not in logs.ENDED:
            time.sleep(_LOOK_EVERY)
            found.refresh_from_db(fields=["status", "log_tail"])
            more = logs.read(found, after, MAX_LINES)
            if not more.kept:
                self._print(more, as_json=as_json)
                after = more.after

    def _print(self, seen: Lines, *, as_json: bool) -> None:
        for entry in seen.entries:
            if as_json:
                self.stdout.write(json.dumps({"at": entry.at, "stream": entry.stream, "text": entry.text}))
            else:
                self.stdout.write(f"{entry.at} {entry.text}" if entry.at else entry.text)
