"""Read a node's log: live lines while someone watches, or the stored last lines of a container that has exited."""

import re
from dataclasses import dataclass
from typing import Final

from infra_app import log_stream
from infra_app.log_stream import Entry
from infra_app.models import Node
from infra_app.states import NodeStatus
from zenith_site.common.masking import mask_text

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT")
#: The container writes nothing more.
ENDED = frozenset({NodeStatus.STOPPED, NodeStatus.REMOVED, NodeStatus.FAILED})


@dataclass(frozen=True, slots=True)
class Lines:
    """Some of a node's lines, oldest first, with secrets masked.

    Attributes:
        after: the id after which to continue reading.
        kept: whether these are the stored last lines of a container that has exited.
    """

    entries: list[Entry]
    after: str
    kept: bool


def read(node: Node, after: str = "", limit: int = 1000) -> Lines:
    """Return the lines after an id, or the newest, and declare that someone is reading (see log_stream).

    Raises ValueError if `after` is not an id, and redis.RedisError.
    """
    if node.status not in ENDED:
        log_stream.watch(node.id)
    entries = log_stream.read(node.id, after, limit)
    if not entries and not after and node.log_tail:
        return Lines([_kept(line) for line in node.log_tail.splitlines()[-limit:]], "", kept=True)
    masked = [Entry(entry.at, entry.stream, mask_text(entry.text), entry.id) for entry in entries]
    return Lines(masked, entries[-1].id if entries else after, kept=False)


def _kept(line: str) -> Entry:
    """Parse a stored line: its time, a space, and the text."""
    at, _, text = line.partition(" ")
    return Entry(at, "", mask_text(text), "") if _TIME.match(at) else Entry("", "", mask_text(line), "")
