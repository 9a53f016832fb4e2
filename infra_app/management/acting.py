"""The command that does one thing with the nodes that are named; each such command says which."""

import json
from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError

from infra_app import nodes
from infra_app.api.schemas import ActAnswer, NodeBrief, RefusedAnswer
from infra_app.management import cli
from infra_app.models import Node


class ActCommand(BaseCommand):
    """Do one thing with nodes; the exit status is 1 where any of them was refused, or does not get there in time."""

    verb: ClassVar[str]
    question: ClassVar[str]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which nodes are meant."""
        parser.add_argument("nodes", nargs="+", metavar="NODE", help="names or ids")
        parser.add_argument("--dry-run", action="store_true", help="only say which it would be")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        cli.add_wait(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, act, say what was done, and wait where asked to. Raises CommandError."""
        found = cli.find_nodes(dict.fromkeys(options["nodes"]))
        names = [node.name for node in found]
        if options["dry_run"]:
            self.stdout.write(json.dumps({self.verb: names}) if options["json"] else f"{self.verb}: {', '.join(names)}")
            return
        cli.confirm(self.question.format(names[0] if len(names) == 1 else f"{len(names)} nodes"), yes=options["yes"])
        outcome = nodes.act(self.verb, [node.id for node in found], cli.by())
        self._report(outcome, as_json=options["json"])
        if outcome.refused:
            raise CommandError("; ".join(item.reason for item in outcome.refused), returncode=cli.NOTHING)
        if options["wait"]:
            changing = Node.objects.filter(id__in=[node.id for node in outcome.done])
            cli.wait(self, changing, options["wait"], quiet=options["json"])

    def _report(self, outcome: nodes.NodeChanges, *, as_json: bool) -> None:
        if not as_json:
            for node in outcome.done:
                self.stdout.write(f"{self.verb}: {node.name}")
            return
        refused = [RefusedAnswer(id=item.node.id, reason=item.reason) for item in outcome.refused]
        answer = ActAnswer.model_construct(done=[NodeBrief.of(node) for node in outcome.done], refused=refused)
        self.stdout.write(answer.model_dump_json())
