"""Wait until nodes reach their desired state, up to a deadline."""

import time
from collections.abc import Callable
from typing import Final

from django.db import connection
from django.db.models import QuerySet

from infra_app.models import Node
from infra_app.states import Desired, NodeStatus

_CHECK_EVERY: Final = 0.25
#: The statuses in which each desired state is reached.
_SETTLED_IN: Final = {
    Desired.RUNNING: {NodeStatus.READY},
    Desired.DRAINED: {NodeStatus.STOPPED},
    Desired.STOPPED: {NodeStatus.STOPPED},
    Desired.REMOVED: {NodeStatus.REMOVED},
}


def settled(node: Node) -> bool:
    """Whether a node has reached its desired state, or failed to."""
    acted = node.host_id is None or node.observed_generation >= node.generation
    return acted and (node.status in _SETTLED_IN[Desired(node.desired)] or node.status == NodeStatus.FAILED)


def wait_for(nodes: QuerySet[Node], seconds: float, on_check: Callable[[list[Node]], None] | None = None) -> bool:
    """Wait until all these nodes have settled; return whether they have. `on_check` is called with them on each check."""
    deadline = time.monotonic() + seconds
    while True:
        current = list(nodes.all())
        if on_check:
            on_check(current)
        if all(map(settled, current)):
            return True
        if time.monotonic() >= deadline:
            return False
        if not connection.in_atomic_block:
            connection.close()  # a web process has few connections, and this may take a minute
        time.sleep(_CHECK_EVERY)
