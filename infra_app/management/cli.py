"""What the commands of nodes share: finding nodes and groups by name or id, asking, waiting, and exit statuses."""

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

#: Exit statuses: it came to nothing (refused, failed, not there in time), and input that cannot be accepted.
NOTHING: Final = 1
WRONG: Final = 2
#: Seconds that `--wait` waits unless told.
PATIENCE: Final = 60


def by() -> str:
    """Return who runs the command, for events."""
    return f"{os.environ.get('USER', '') or 'somebody'} (command)"


def refused(error: InvalidInputError, what: str) -> CommandError:
    """Return the error that names every culprit of wrong input."""
    lines = [f"{item.pointer or '/'}: {item.detail}" for item in error.problems]
    return CommandError(f"{what}:\n  " + "\n  ".join(lines), returncode=WRONG)


def find_nodes(words: Iterable[str], *, gone: bool = False) -> list[Node]:
    """Return the nodes that are named, by name or id; `gone`: also removed ones. Raises CommandError for an unknown one."""
    found = []
    for word in words:
        nodes = Node.objects.filter(_meant(word)).select_related("group", "host").order_by("-created_at")
        node = next((node for node in nodes if node.status != NodeStatus.REMOVED), nodes.first() if gone else None)
        if node is None:
            raise CommandError(f"there is no node {word!r}; `manage.py nodes` lists them", returncode=WRONG)
        found.append(node)
    return found


def find_group(word: str) -> NodeGroup:
    """Return the group that is named, by name or id. Raises CommandError where there is none."""
    group = NodeGroup.objects.filter(_meant(word), removed_at=None).first()
    if group is None:
        raise CommandError(f"there is no group {word!r}; `manage.py nodes` lists them", returncode=WRONG)
    return group


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is done that cannot be taken back. Raises CommandError unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Add --yes to do it without being asked.", returncode=WRONG)
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done", returncode=NOTHING)


def wait(command: BaseCommand, nodes: QuerySet[Node], seconds: float, *, quiet: bool) -> None:
    """Wait until nodes are where they are wanted, with a line on a terminal. Raises CommandError where they do not get there."""
    show = not quiet and sys.stderr.isatty()

    def look(found: list[Node]) -> None:
        if show:
            words = ", ".join(f"{node.name} {node.status.lower()}" for node in found)
            command.stderr.write(f"\r\x1b[K{words[:160]}", ending="")

    settled = wait_for(nodes, seconds, look)
    if show:
        command.stderr.write("")
    failed = [f"{node.name}: {node.reason}" for node in nodes.all() if node.status == NodeStatus.FAILED]
    if failed or not settled:
        raise CommandError("; ".join(failed) or f"not within {seconds:g} s; it goes on all the same", returncode=NOTHING)


def _meant(word: str) -> Q:
    try:
        return Q(pk=UUID(word))
    except ValueError:
        return Q(name=word.replace("\0", ""))


def add_wait(parser: Any) -> None:
    """Take `--wait [SECONDS]`."""
    parser.add_argument(
        "--wait", type=float, nargs="?", const=PATIENCE, metavar="SECONDS",
        help=f"until it is so, {PATIENCE} seconds at most unless told; status 1 when it is not",
    )  # fmt: skip
