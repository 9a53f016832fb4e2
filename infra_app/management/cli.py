"""Shared parts of the node commands: look up nodes and groups, confirm, wait, and exit statuses."""

import os
import sys
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q, QuerySet

from infra_app.models import Node, NodeGroup
from infra_app.states import NodeStatus
from infra_app.waiting import wait_for
from zenith_site.common.errors import InvalidInputError

#: Exit statuses: the action failed (refused, failed, or not done in time), and invalid input.
FAILED: Final = 1
INVALID_INPUT: Final = 2
#: Seconds that `--wait` waits by default.
DEFAULT_WAIT: Final = 60


def current_user() -> str:
    """Return who runs the command, for the nodes' events."""
    return f"{os.environ.get('USER', '') or 'somebody'} (command)"


def invalid_input(error: InvalidInputError, what: str) -> CommandError:
    """Return the error that names every invalid member of the input."""
    lines = [f"{item.pointer or '/'}: {item.detail}" for item in error.problems]
    return CommandError(f"{what}:\n  " + "\n  ".join(lines), returncode=INVALID_INPUT)


def find_nodes(names: Iterable[str], *, include_removed: bool = False) -> list[Node]:
    """Return nodes by name or id, with `include_removed` also removed ones. Raises CommandError if one is unknown."""
    selection = []
    for name in names:
        nodes = Node.objects.filter(_by_name_or_id(name)).select_related("group", "host").order_by("-created_at")
        node = next((node for node in nodes if node.status != NodeStatus.REMOVED), nodes.first() if include_removed else None)
        if node is None:
            raise CommandError(f"there is no node {name!r}; `manage.py nodes` lists them", returncode=INVALID_INPUT)
        selection.append(node)
    return selection


def find_group(name: str) -> NodeGroup:
    """Return a group by name or id. Raises CommandError if it is unknown."""
    group = NodeGroup.objects.filter(_by_name_or_id(name), removed_at=None).first()
    if group is None:
        raise CommandError(f"there is no group {name!r}; `manage.py nodes` lists them", returncode=INVALID_INPUT)
    return group


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation of an action that cannot be undone. Raises CommandError unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Add --yes to skip this confirmation.", returncode=INVALID_INPUT)
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was changed", returncode=FAILED)


def wait(command: BaseCommand, nodes: QuerySet[Node], seconds: float, *, quiet: bool) -> None:
    """Wait until nodes reach their desired state, with a status line on a terminal. Raises CommandError if they do not."""
    interactive = not quiet and sys.stderr.isatty()

    def show_progress(current: list[Node]) -> None:
        if interactive:
            progress = ", ".join(f"{node.name} {node.status.lower()}" for node in current)
            command.stderr.write(f"\r\x1b[K{progress[:160]}", ending="")

    settled = wait_for(nodes, seconds, show_progress)
    if interactive:
        command.stderr.write("")
    failed = [f"{node.name}: {node.reason}" for node in nodes.all() if node.status == NodeStatus.FAILED]
    if failed or not settled:
        raise CommandError(
            "; ".join(failed) or f"not done within {seconds:g} s; it continues in the background", returncode=FAILED
        )


def _by_name_or_id(name: str) -> Q:
    try:
        return Q(pk=UUID(name))
    except ValueError:
        return Q(name=name.replace("\0", ""))


def add_wait(parser: Any) -> None:
    """Add the option `--wait [SECONDS]`."""
    parser.add_argument(
        "--wait", type=float, nargs="?", const=DEFAULT_WAIT, metavar="SECONDS",
        help=f"wait until it is done, at most SECONDS (default {DEFAULT_WAIT}); exit with status 1 if it is not done by then",
    )  # fmt: skip
