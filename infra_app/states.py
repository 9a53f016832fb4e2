"""The life cycle of a worker node: its desired state, its status, and what each value means. Pure.

1. A page, the API or a command writes the *desired* state and raises the generation; nothing else does.
2. The agent of the node's host acts on it and writes the *observed* state with the generation it acted on.
3. Whether a node's host is reachable is not stored in the node: it follows from the host's last heartbeat.
"""

from typing import Final

from django.db import models

#: Seconds between two heartbeats of an agent, and without one until its host counts as unreachable.
HOST_HEARTBEAT_EVERY: Final = 3.0
HOST_LOST_AFTER: Final = 12.0


class Desired(models.TextChoices):
    """The desired state of a node."""

    RUNNING = "RUNNING", "Running"
    DRAINED = "DRAINED", "Drained"
    STOPPED = "STOPPED", "Stopped"
    REMOVED = "REMOVED", "Removed"

    @property
    def sentence(self) -> str:
        """What it means, in one sentence for pages and API documentation."""
        return _DESIRED[self]


_DESIRED: Final = {
    Desired.RUNNING: "A container runs the worker and is restarted when it exits.",
    Desired.DRAINED: "The worker accepts no new tasks, finishes the tasks it has, and stops.",
    Desired.STOPPED: "The container is stopped; running tasks return to their queue.",
    Desired.REMOVED: "The container and the node are removed.",
}


class NodeStatus(models.TextChoices):
    """The status of a node, as its host's agent observed it."""

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
    NodeStatus.PENDING: "Waiting for a host with room, or for the host's agent to start it.",
    NodeStatus.PULLING: "Its host is pulling the image.",
    NodeStatus.STARTING: "Its container has started; its worker has not sent a heartbeat yet.",
    NodeStatus.READY: "Its worker is online and accepts tasks.",
    NodeStatus.DRAINING: "Its worker accepts no new tasks and finishes the tasks it has.",
    NodeStatus.STOPPED: "Its container has stopped, as desired.",
    NodeStatus.REMOVED: "Its container is removed.",
    NodeStatus.FAILED: "Its container cannot be started or keeps exiting; the reason says why.",
    NodeStatus.UNKNOWN: "Its host is unreachable, so its state is unknown; it may still be running tasks.",
}

#: The statuses that are stored; UNKNOWN follows from the host.
STORED: Final = tuple(status for status in NodeStatus if status is not NodeStatus.UNKNOWN)
#: A node in one of these reserves capacity on its host, whatever its desired state; so does one that is desired to run.
RESERVES_CAPACITY: Final = frozenset(STORED) - {NodeStatus.STOPPED, NodeStatus.REMOVED, NodeStatus.FAILED}

#: Kinds of events that report a container which exited on its own; the task page shows their messages.
DIED: Final = "died"
OUT_OF_MEMORY: Final = "out-of-memory"

#: The actions that each desired state allows; read by buttons, bulk actions, commands and the API alike.
ACTIONS: Final[dict[Desired, frozenset[str]]] = {
    Desired.RUNNING: frozenset({"drain", "stop", "restart", "remove", "update"}),
    Desired.DRAINED: frozenset({"start", "stop", "remove", "update"}),
    Desired.STOPPED: frozenset({"start", "remove", "update"}),
    Desired.REMOVED: frozenset(),
}
