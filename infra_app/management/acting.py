"""Base class of the commands that apply one action to nodes."""

import json
from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError

from infra_app import nodes
from infra_app.api.schemas import ActAnswer, NodeBrief, RefusedAnswer
from infra_app.management import cli
from infra_app.models import Node


class ActCommand(BaseCommand):
    """Apply an action to nodes; the exit status is 1 if any node refused it, or did not settle in time."""

    verb: ClassVar[str]
    question: ClassVar[str]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the arguments that select nodes."""
        parser.add_argument("nodes", nargs="+", metavar="NODE", help="names or ids")
        parser.add_argument("--dry-run", action="store_true", help="only print which nodes would be affected")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        cli.add_wait(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Confirm, act, report, and wait if requested. Raises CommandError."""
        selection = cli.find_nodes(dict.fromkeys(options["nodes"]))
        names = [node.name for node in selection]
        if options["dry_run"]:
            self.stdout.write(json.dumps({self.verb: names}) if options["json"] else f"{self.verb}: {', '.join(names)}")
            return
        cli.confirm(self.question.format(names[0] if len(names) == 1 else f"{len(names)} nodes"), yes=options["yes"])
        outcome = nodes.act(self.verb, [node.id for node in selection], cli.current_user())
        self._report(outcome, as_json=options["json"])
        if outcome.refused:
            raise CommandError("; ".join(item.reason for item in outcome.refused), returncode=cli.FAILED)
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
