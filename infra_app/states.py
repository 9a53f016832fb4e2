"""The life of a worker node: what is wanted of it, where it is, and what each word means. Pure.

1. A page, the API or a command writes what is *desired* and raises the generation; nothing else does.
2. The agent of the node's host makes it so and writes what it *observed*, together with the generation it acted on.
3. Whether a node's host can be reached is not written into the node: it follows from the host's last sign of life.
"""

from typing import Final

from django.db import models

#: Seconds between two signs of life of an agent, and without one until its host counts as unreachable.
HOST_BEAT: Final = 3.0
HOST_LOST_AFTER: Final = 12.0


class Desired(models.TextChoices):
    """What somebody wants of a node."""

    RUNNING = "RUNNING", "Running"
    DRAINED = "DRAINED", "Drained"
    STOPPED = "STOPPED", "Stopped"
    REMOVED = "REMOVED", "Removed"

    @property
    def sentence(self) -> str:
        """What it asks of the agent."""
        return _DESIRED[self]


_DESIRED: Final = {
    Desired.RUNNING: "A container runs its worker, and is started again when it ends.",
    Desired.DRAINED: "The worker takes nothing more, finishes what it has, and stops.",
    Desired.STOPPED: "The container is stopped; running tasks are handed back.",
    Desired.REMOVED: "The container is removed, and the node with it.",
}


class NodeStatus(models.TextChoices):
    """Where a node is, as the agent saw it."""

    PENDING = "PENDING", "Pending"
    PULLING = "PULLING", "Pulling"
    STARTING = "STARTING", "Starting"
    READY = "READY", "Ready"
    DRAINING = "DRAINING", "Draining"
    STOPPED = "STOPPED", "Stopped"
    REMOVED = "REMOVED", "Removed"
    FAILED = "FAILED", "Failed"
    #: Never stored: shown for a node whose host is unreachable.
    UNKNOWN = "UNKNOWN", "Unknown"

    @property
    def sentence(self) -> str:
        """What this status means, in one sentence for pages and API documentation."""
        return SENTENCES[self]


SENTENCES: Final[dict[NodeStatus, str]] = {
    NodeStatus.PENDING: "Wanted; no agent has begun yet, or no host has room for it.",
    NodeStatus.PULLING: "Its host fetches the image.",
    NodeStatus.STARTING: "Its container was started; its worker has not answered yet.",
    NodeStatus.READY: "Its worker answers and takes tasks.",
    NodeStatus.DRAINING: "Its worker takes nothing more and finishes what it has.",
    NodeStatus.STOPPED: "Its container has ended, as was wanted.",
    NodeStatus.REMOVED: "Its container is gone.",
    NodeStatus.FAILED: "It could not be started, or ends again and again; the reason says why.",
    NodeStatus.UNKNOWN: "Its host cannot be reached, so nobody knows; it may well be working.",
}

#: The stored ones; UNKNOWN follows from the host.
STORED: Final = tuple(status for status in NodeStatus if status is not NodeStatus.UNKNOWN)
#: A node in one of these holds room on its host, whatever is wanted of it; so does one that is wanted to run.
HOLDS_ROOM: Final = frozenset(STORED) - {NodeStatus.STOPPED, NodeStatus.REMOVED, NodeStatus.FAILED}

#: Kinds of events that tell of a container which ended by itself; the task page shows their words.
DIED: Final = "died"
OUT_OF_MEMORY: Final = "out-of-memory"

#: What can be done with a node that is wanted so; read by buttons, bulk actions, commands and the API alike.
ACTIONS: Final[dict[Desired, frozenset[str]]] = {
    Desired.RUNNING: frozenset({"drain", "stop", "restart", "remove", "update"}),
    Desired.DRAINED: frozenset({"start", "stop", "remove", "update"}),
    Desired.STOPPED: frozenset({"start", "remove", "update"}),
    Desired.REMOVED: frozenset(),
}
