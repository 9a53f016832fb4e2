"""Read hosts, groups and nodes for the Nodes page: desired state beside observed state."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from infra_app import hosts as hosts_of
from infra_app.models import Host, Node, NodeGroup
from infra_app.nodes import allowed_actions
from infra_app.states import Desired, NodeStatus

#: Minutes of a node's short history, and how many removed nodes are listed.
HISTORY_MINUTES: Final = 20
REMOVED_SHOWN: Final = 50
MB: Final = 1 << 20

#: The colour of each status, one of the task statuses' colours (static/css/tokens.css).
COLOURS: Final = {
    NodeStatus.PENDING: "pending",
    NodeStatus.PULLING: "queued",
    NodeStatus.STARTING: "started",
    NodeStatus.READY: "success",
    NodeStatus.DRAINING: "retry",
    NodeStatus.STOPPED: "revoked",
    NodeStatus.REMOVED: "revoked",
    NodeStatus.FAILED: "failure",
    NodeStatus.UNKNOWN: "retry",
}
#: Statuses that already imply the desired state; in any other status, the desired state is shown beside it.
_IMPLIED_BY: Final = {
    Desired.RUNNING: {NodeStatus.PENDING, NodeStatus.PULLING, NodeStatus.STARTING, NodeStatus.READY},
    Desired.DRAINED: {NodeStatus.DRAINING},
    Desired.STOPPED: {NodeStatus.STOPPED},
    Desired.REMOVED: {NodeStatus.REMOVED},
}


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node and its short history: CPU percent minute by minute, 0 if not known."""

    node: Node
    cpu: list[float]

    @property
    def status(self) -> NodeStatus:
        """Its status as people see it."""
        return self.node.shown_status

    @property
    def colour(self) -> str:
        """The colour of its status."""
        return COLOURS[self.status]

    @property
    def sentence(self) -> str:
        """The reason for its status."""
        return self.node.reason if self.status is not NodeStatus.UNKNOWN and self.node.reason else self.status.sentence

    @property
    def desired_note(self) -> str:
        """Its desired state in a few words; empty if its status implies it."""
        desired = Desired(self.node.desired)
        if self.node.leaving:
            return "removed once drained"
        return "" if self.status in _IMPLIED_BY[desired] else f"desired: {desired.label.lower()}"

    @property
    def memory_share(self) -> float | None:
        """How much of its limit it uses, in percent."""
        used = self.node.memory_bytes
        return None if used is None else min(100.0, 100 * used / (self.node.group.memory_mb * MB))

    @property
    def cpu_share(self) -> float | None:
        """How much of its limit it uses, in percent."""
        used = self.node.cpu_percent
        return None if used is None else min(100.0, used / self.node.group.cpus)

    @property
    def uptime(self) -> float | None:
        """How many seconds its container has been running; None if it is not running."""
        if self.node.started_at is None or self.status in (NodeStatus.STOPPED, NodeStatus.REMOVED, NodeStatus.FAILED):
            return None
        return max(0.0, (timezone.now() - self.node.started_at).total_seconds())

    @property
    def actions(self) -> frozenset[str]:
        """The actions that are possible now."""
        return allowed_actions(self.node)


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group and the nodes of it that are shown."""

    group: NodeGroup
    nodes: list[NodeRow]

    @property
    def ready(self) -> int:
        """How many of these nodes are ready."""
        return sum(row.status is NodeStatus.READY for row in self.nodes)


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host and how many nodes are on it."""

    host: Host
    nodes: int

    @property
    def memory_share(self) -> float | None:
        """How much of its memory its containers use, in percent."""
        used, has = self.host.memory_used_bytes, self.host.memory_bytes
        return None if used is None or not has else min(100.0, 100 * used / has)

    @property
    def state(self) -> str:
        """Its state in a word or two."""
        if not self.host.agent_online:
            return "unreachable"
        return "engine unreachable" if self.host.engine_error else "cordoned" if self.host.cordoned else "online"


def host_rows() -> list[HostRow]:
    """Return every host, ordered by name; one query."""
    return [HostRow(host, host.node_count) for host in hosts_of.with_counts()]  # type: ignore[attr-defined]


def node_rows(nodes: Iterable[Node]) -> list[NodeRow]:
    """Return the rows of nodes that were read with their group and host; one query."""
    node_list = list(nodes)
    history = cpu_history([node.id for node in node_list])
    return [NodeRow(node, history.get(node.id, [0.0] * HISTORY_MINUTES)) for node in node_list]


def present_nodes() -> list[Node]:
    """Return all nodes that are not removed, with group and host, ordered by group and age; one query."""
    nodes = Node.objects.exclude(status=NodeStatus.REMOVED).select_related("group", "host")
    return sorted(nodes, key=lambda node: (node.group.name, node.created_at, node.id))


def removed_nodes() -> list[Node]:
    """Return the most recently removed nodes; one query."""
    nodes = Node.objects.filter(status=NodeStatus.REMOVED).select_related("group", "host")
    return list(nodes.order_by("-finished_at", "-id")[:REMOVED_SHOWN])


def group_rows(rows: Sequence[NodeRow], *, with_empty: bool) -> list[GroupRow]:
    """Return rows by group; with `with_empty` also groups that have no nodes, which takes one query."""
    by_group: dict[UUID, list[NodeRow]] = defaultdict(list)
    groups: dict[UUID, NodeGroup] = {}
    for row in rows:
        groups[row.node.group_id] = row.node.group
        by_group[row.node.group_id].append(row)
    if with_empty:
        groups |= {group.id: group for group in NodeGroup.objects.filter(removed_at=None)}
    return [GroupRow(group, by_group[group.id]) for group in sorted(groups.values(), key=lambda group: group.name)]


_CPU: Final = """
    SELECT node_id, floor(extract(epoch FROM %(now)s - at) / 60)::int, avg(cpu_percent)
    FROM infra_app_nodesample WHERE node_id = ANY(%(nodes)s) AND at > %(since)s AND at <= %(now)s GROUP BY 1, 2
"""


def cpu_history(ids: Sequence[UUID]) -> dict[UUID, list[float]]:
    """Return CPU percent minute by minute, newest last, of the nodes that have samples; one query, none without ids."""
    if not ids:
        return {}
    now = timezone.now()
    since = now - timedelta(minutes=HISTORY_MINUTES)
    with connection.cursor() as cursor:
        cursor.execute(_CPU, {"now": now, "since": since, "nodes": list(ids)})
        history: dict[UUID, list[float]] = defaultdict(lambda: [0.0] * HISTORY_MINUTES)
        for node, minutes_ago, percent in cursor.fetchall():
            if minutes_ago < HISTORY_MINUTES:
                history[node][HISTORY_MINUTES - 1 - minutes_ago] = percent
    return history
