"""`manage.py nodes`: list nodes with their desired and observed states."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from infra_app import queries
from infra_app.api.schemas import NodeAnswer
from infra_app.states import NodeStatus
from zenith_site.common.humanize import duration, size


class Command(BaseCommand):
    """Print nodes by group."""

    help = "List worker nodes with their status, desired state, host and resource usage."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the list's filters."""
        parser.add_argument("--status", type=str.upper, choices=NodeStatus.values, help="list only nodes in this status")
        parser.add_argument("--host", help="list only nodes on this host")
        parser.add_argument("--group", help="list only nodes of this group")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, status: str | None, host: str | None, group: str | None, **options: Any) -> None:
        """Print the list."""
        candidates = queries.removed_nodes() if status == NodeStatus.REMOVED else queries.present_nodes()
        selection = [
            node
            for node in candidates
            if status in (None, node.shown_status)
            and host in (None, node.host and node.host.name)
            and group in (None, node.group.name)
        ]
        if options["json"]:
            self.stdout.write(json.dumps([NodeAnswer.of(node).model_dump(mode="json") for node in selection], indent=2))
            return
        for row in queries.node_rows(selection):
            node = row.node
            cpu = "" if node.cpu_percent is None else f"{node.cpu_percent:.0f} %"
            note = row.desired_note or ("" if row.status is NodeStatus.READY else row.sentence)
            self.stdout.write(
                f"{node.name:24}  {row.status.value:9}  {node.host.name if node.host else '-':16}  {cpu:>6}  "
                f"{size(node.memory_bytes):>8}  {duration(row.uptime):>10}  {note}".rstrip()
            )
        if not selection:
            self.stdout.write(
                "No nodes found. Deploy one with `manage.py deploy_node`; this requires an agent (`manage.py run_agent`)."
            )
