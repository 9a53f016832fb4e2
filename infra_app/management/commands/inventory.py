"""`manage.py inventory`: list what the Docker hosts hold."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from infra_app import inventory_snapshots
from infra_app.resources import Resource, ResourceKind, Usage, resources
from zenith_site.common.humanize import size


class Command(BaseCommand):
    """Print containers, images, volumes and networks, as each host's agent saw them last."""

    help = "List what the Docker hosts hold: containers, images, volumes and networks, with sizes and who uses what."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the list's filters."""
        parser.add_argument("--kind", choices=list(ResourceKind), help="only these")
        parser.add_argument("--host", help="only of this host")
        parser.add_argument("--dangling", action="store_true", help="only what nothing needs any more")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, kind: str | None, host: str | None, dangling: bool, **options: Any) -> None:
        """Print them."""
        found = [
            held
            for held in resources(inventory_snapshots.snapshots())
            if kind in (None, held.kind) and host in (None, held.host) and (not dangling or held.use is Usage.DANGLING)
        ]
        if options["json"]:
            self.stdout.write(json.dumps([_record(held) for held in found], indent=2))
            return
        for held in found:
            state = held.status or held.use.value
            users = ", ".join(held.used_by)
            self.stdout.write(
                f"{held.kind.value:9}  {held.name[:40]:40}  {state:10}  {size(held.size):>8}  {held.host:16}  {users}".rstrip()
            )
        if not found:
            self.stdout.write("Nothing is there, or no Docker host has been looked at yet (`manage.py run_agent`).")


def _record(held: Resource) -> dict[str, Any]:
    return {
        "type": held.kind.value, "id": held.id, "name": held.name, "status": held.status, "use": held.use.value,
        "size": held.size, "host": held.host, "about": held.about, "used_by": held.used_by,
    }  # fmt: skip
