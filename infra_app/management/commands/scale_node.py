"""`manage.py scale_node`: change a group's number of nodes."""

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
    """Scale a group; to shrink it, the idlest nodes are drained and removed once drained."""

    help = "Change a group's number of nodes. To shrink it, the idlest nodes are drained and then removed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the group and its new size."""
        parser.add_argument("group", help="name or id of the group")
        parser.add_argument("replicas", type=int, help="number of nodes")
        parser.add_argument("--dry-run", action="store_true", help="only print what would change")
        cli.add_wait(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, group: str, replicas: int, **options: Any) -> None:
        """Scale, report, and wait if requested. Raises CommandError."""
        node_group = cli.find_group(group)
        if options["dry_run"]:
            self.stdout.write(f"{node_group.name}: {node_group.replicas} -> {replicas}")
            return
        try:
            scaled = nodes.scale(node_group.id, replicas, cli.current_user())
        except InvalidInputError as error:
            raise cli.invalid_input(error, "nothing was scaled") from None
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
