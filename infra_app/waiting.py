"""Waiting until nodes are where they should be, up to a deadline."""

import time
from collections.abc import Callable
from typing import Final

from django.db import connection
from django.db.models import QuerySet

from infra_app.models import Node
from infra_app.states import Desired, NodeStatus

_LOOK_EVERY: Final = 0.25
#: Where a node comes to rest that is wanted so.
_RESTS: Final = {
    Desired.RUNNING: {NodeStatus.READY},
    Desired.DRAINED: {NodeStatus.STOPPED},
    Desired.STOPPED: {NodeStatus.STOPPED},
    Desired.REMOVED: {NodeStatus.REMOVED},
}


def settled(node: Node) -> bool:
    """Whether a node is where it is wanted, or has failed to get there."""
    acted = node.host_id is None or node.observed_generation >= node.generation
    return acted and (node.status in _RESTS[Desired(node.desired)] or node.status == NodeStatus.FAILED)


def wait_for(nodes: QuerySet[Node], seconds: float, look: Callable[[list[Node]], None] | None = None) -> bool:
    """Wait until all these nodes are settled; return whether they are. `look` is shown them each time."""
    deadline = time.monotonic() + seconds
    while True:
        found = list(nodes.all())
        if look:
            look(found)
        if all(map(settled, found)):
            return True
        if time.monotonic() >= deadline:
            return False
        if not connection.in_atomic_block:
            connection.close()  # a web process lends few, and this may take a minute
        time.sleep(_LOOK_EVERY)
