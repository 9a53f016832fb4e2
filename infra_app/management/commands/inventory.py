"""`manage.py inventory`: list the resources on the Docker hosts."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from infra_app import inventory_snapshots
from infra_app.resources import Resource, ResourceKind, Usage, resources
from zenith_site.common.humanize import size


class Command(BaseCommand):
    """Print containers, images, volumes and networks from the latest snapshot of each host."""

    help = "List containers, images, volumes and networks on the Docker hosts, with their sizes and what uses them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the list's filters."""
        parser.add_argument("--kind", choices=list(ResourceKind), help="list only this kind")
        parser.add_argument("--host", help="list only resources on this host")
        parser.add_argument("--dangling", action="store_true", help="list only dangling images and unused volumes")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, kind: str | None, host: str | None, dangling: bool, **options: Any) -> None:
        """Print the list."""
        selection = [
            item
            for item in resources(inventory_snapshots.snapshots())
            if kind in (None, item.kind) and host in (None, item.host) and (not dangling or item.use is Usage.DANGLING)
        ]
        if options["json"]:
            self.stdout.write(json.dumps([_record(item) for item in selection], indent=2))
            return
        for item in selection:
            state = item.status or item.use.value
            users = ", ".join(item.used_by)
            self.stdout.write(
                f"{item.kind.value:9}  {item.name[:40]:40}  {state:10}  {size(item.size):>8}  {item.host:16}  {users}".rstrip()
            )
        if not selection:
            self.stdout.write("No resources found. Resources appear once an agent has reported (`manage.py run_agent`).")


def _record(item: Resource) -> dict[str, Any]:
    return {
        "type": item.kind.value, "id": item.id, "name": item.name, "status": item.status, "use": item.use.value,
        "size": item.size, "host": item.host, "about": item.about, "used_by": item.used_by,
    }  # fmt: skip
