"""`manage.py scale_node`: have a group run so many nodes."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from infra_app import nodes
from infra_app.api.groups import ScaleAnswer
from infra_app.api.schemas import GroupAnswer, NodeBrief
from infra_app.management import cli
from infra_app.states import NodeStatus
from zenith_site.common.errors import InvalidInputError


class Command(BaseCommand):
    """Scale a group; with fewer nodes the idlest are drained, and removed once they are."""

    help = "Have a group run so many nodes. With fewer, the idlest are drained first, and removed once they are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which group, and how many."""
        parser.add_argument("group", help="its name or id")
        parser.add_argument("replicas", type=int, help="how many nodes")
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")
        cli.add_wait(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, group: str, replicas: int, **options: Any) -> None:
        """Scale, say what follows, and wait where asked to. Raises CommandError."""
        found = cli.find_group(group)
        if options["dry_run"]:
            self.stdout.write(f"{found.name}: {found.replicas} -> {replicas}")
            return
        try:
            scaled = nodes.scale(found.id, replicas, cli.by())
        except InvalidInputError as error:
            raise cli.refused(error, "nothing was scaled") from None
        if options["json"]:
            ready = scaled.group.nodes.filter(status=NodeStatus.READY).count()
            answer = ScaleAnswer.model_construct(
                group=GroupAnswer.of(scaled.group, ready), before=scaled.before,
                added=[NodeBrief.of(node) for node in scaled.added], leaving=[NodeBrief.of(node) for node in scaled.leaving],
            )  # fmt: skip
            self.stdout.write(answer.model_dump_json())
        else:
            self.stdout.write(f"{scaled.group.name}: {scaled.before} -> {replicas}")
            for node in (*scaled.added, *scaled.leaving):
                self.stdout.write(f"{'+' if node in scaled.added else '-'} {node.name}")
        if options["wait"]:
            changing = [node.id for node in (*scaled.added, *scaled.leaving)]
            cli.wait(self, scaled.group.nodes.filter(id__in=changing), options["wait"], quiet=options["json"])
