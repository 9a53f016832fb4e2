"""A node's log for whoever reads it: the lines that come while somebody watches, or the kept end of a container that is gone."""

import re
from dataclasses import dataclass
from typing import Final

from infra_app import log_stream
from infra_app.log_stream import Entry
from infra_app.models import Node
from infra_app.states import NodeStatus
from zenith_site.common.masking import mask_text

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT")
#: Its container writes nothing more.
ENDED = frozenset({NodeStatus.STOPPED, NodeStatus.REMOVED, NodeStatus.FAILED})


@dataclass(frozen=True, slots=True)
class Lines:
    """Some of a node's lines, the oldest first and without secrets.

    Attributes:
        after: the id after which to read on.
        kept: these are the last lines of a container that has ended.
    """

    entries: list[Entry]
    after: str
    kept: bool


def read(node: Node, after: str = "", limit: int = 1000) -> Lines:
    """Return the lines after an id, or the newest; whoever reads is followed for a while (see log_stream).

    Raises ValueError where `after` is no id, and redis.RedisError.
    """
    if node.status not in ENDED:
        log_stream.watch(node.id)
    entries = log_stream.read(node.id, after, limit)
    if not entries and not after and node.log_tail:
        return Lines([_kept(line) for line in node.log_tail.splitlines()[-limit:]], "", kept=True)
    shown = [Entry(entry.at, entry.stream, mask_text(entry.text), entry.id) for entry in entries]
    return Lines(shown, entries[-1].id if entries else after, kept=False)


def _kept(line: str) -> Entry:
    """Return a line as the agent kept it: its time, a space, and the text."""
    at, _, text = line.partition(" ")
    return Entry(at, "", mask_text(text), "") if _TIME.match(at) else Entry("", "", mask_text(line), "")
