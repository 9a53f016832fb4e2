"""A node's log for whoever reads it: the lines that come while somebody watches, or the kept end of a container that is gone."""

from dataclasses import dataclass

from infra_app import log_stream
from infra_app.log_stream import Entry
from infra_app.models import Node
from infra_app.states import NodeStatus
from zenith_site.common.masking import mask_text

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
        tail = node.log_tail.splitlines()[-limit:]
        return Lines([Entry("", "", mask_text(line), "") for line in tail], "", kept=True)
    shown = [Entry(entry.at, entry.stream, mask_text(entry.text), entry.id) for entry in entries]
    return Lines(shown, entries[-1].id if entries else after, kept=False)
