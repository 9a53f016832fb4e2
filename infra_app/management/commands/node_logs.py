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

#: Seconds that a node's host has to send the first lines, and between two reads.
_FIRST: Final = 5.0
_READ_EVERY: Final = 0.5


class Command(BaseCommand):
    """Print the newest lines of a node's log, or the stored last lines if its container has exited."""

    help = "Print a node's log. With --follow, keep printing new lines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the node and how much to print."""
        parser.add_argument("node", help="name or id of the node; for a removed node, its id")
        parser.add_argument("--follow", "-f", action="store_true", help="keep printing new lines until Ctrl-C")
        parser.add_argument(
            "--lines", "-n", type=int, default=200, help=f"number of newest lines to print (default 200, at most {MAX_LINES:,})"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object per line")

    def handle(self, *args: Any, node: str, follow: bool, lines: int, **options: Any) -> None:
        """Print lines. Raises CommandError if there are none."""
        (selected,) = cli.find_nodes([node], include_removed=True)
        limit = min(max(lines, 1), MAX_LINES)
        deadline = time.monotonic() + _FIRST
        lines_read = logs.read(selected, limit=limit)
        while not lines_read.entries and selected.status not in logs.ENDED and time.monotonic() < deadline:
            time.sleep(_READ_EVERY)
            lines_read = logs.read(selected, limit=limit)
        self._print(lines_read, as_json=options["json"])
        if not lines_read.entries and not follow:
            raise CommandError(
                f"{selected.name} has logged nothing, or its host's agent does not send its log", returncode=cli.FAILED
            )
        if follow:
            with suppress(KeyboardInterrupt):
                self._follow(selected, lines_read.after, as_json=options["json"])

    def _follow(self, node: Node, after: str, *, as_json: bool) -> None:
        while node.status not in logs.ENDED:
            time.sleep(_READ_EVERY)
            node.refresh_from_db(fields=["status", "log_tail"])
            new_lines = logs.read(node, after, MAX_LINES)
            if not new_lines.kept:
                self._print(new_lines, as_json=as_json)
                after = new_lines.after

    def _print(self, lines: Lines, *, as_json: bool) -> None:
        for entry in lines.entries:
            if as_json:
                self.stdout.write(json.dumps({"at": entry.at, "stream": entry.stream, "text": entry.text}))
            else:
                self.stdout.write(f"{entry.at} {entry.text}" if entry.at else entry.text)
