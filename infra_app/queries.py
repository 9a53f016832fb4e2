"""Hosts, groups and nodes as the Nodes page shows them: what is wanted beside what was seen. It only reads."""

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
from infra_app.nodes import possible
from infra_app.states import Desired, NodeStatus

#: Minutes of a node's short history, and removed nodes that are still listed.
HISTORY_MINUTES: Final = 20
REMOVED_SHOWN: Final = 50
MB: Final = 1 << 20

#: The colour of each status: one of those that tasks have (static/css/tokens.css).
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
#: Where a node goes by itself when it is wanted so; in any other status, what is wanted is said beside it.
_SAYS_ITSELF: Final = {
    Desired.RUNNING: {NodeStatus.PENDING, NodeStatus.PULLING, NodeStatus.STARTING, NodeStatus.READY},
    Desired.DRAINED: {NodeStatus.DRAINING},
    Desired.STOPPED: {NodeStatus.STOPPED},
    Desired.REMOVED: {NodeStatus.REMOVED},
}


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node and its short history: CPU percent minute by minute, 0 where nothing is known."""

    node: Node
    cpu: list[float]

    @property
    def status(self) -> NodeStatus:
        """Where it is, as people see it."""
        return self.node.shown_status

    @property
    def colour(self) -> str:
        """The status' colour."""
        return COLOURS[self.status]

    @property
    def sentence(self) -> str:
        """Why it is where it is."""
        return self.node.reason if self.status is not NodeStatus.UNKNOWN and self.node.reason else self.status.sentence

    @property
    def wanted(self) -> str:
        """What is wanted of it, in a word, where its status does not say so itself."""
        desired = Desired(self.node.desired)
        if self.node.leaving:
            return "leaves once it is drained"
        return "" if self.status in _SAYS_ITSELF[desired] else f"wanted {desired.label.lower()}"

    @property
    def memory_share(self) -> float | None:
        """What it uses of its limit, in percent."""
        used = self.node.memory_bytes
        return None if used is None else min(100.0, 100 * used / (self.node.group.memory_mb * MB))

    @property
    def cpu_share(self) -> float | None:
        """What it uses of its limit, in percent."""
        used = self.node.cpu_percent
        return None if used is None else min(100.0, used / self.node.group.cpus)

    @property
    def uptime(self) -> float | None:
        """For how many seconds its container has run; None while it does not."""
        if self.node.started_at is None or self.status in (NodeStatus.STOPPED, NodeStatus.REMOVED, NodeStatus.FAILED):
            return None
        return max(0.0, (timezone.now() - self.node.started_at).total_seconds())

    @property
    def actions(self) -> frozenset[str]:
        """What can be done with it."""
        return possible(self.node)


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group and those of its nodes that are shown."""

    group: NodeGroup
    nodes: list[NodeRow]

    @property
    def ready(self) -> int:
        """How many of them are ready."""
        return sum(row.status is NodeStatus.READY for row in self.nodes)


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host and how many nodes are on it."""

    host: Host
    nodes: int

    @property
    def memory_share(self) -> float | None:
        """What its containers use of its memory, in percent."""
        used, has = self.host.memory_used_bytes, self.host.memory_bytes
        return None if used is None or not has else min(100.0, 100 * used / has)

    @property
    def state(self) -> str:
        """How it is, in a word."""
        if not self.host.agent_online:
            return "unreachable"
        return "engine away" if self.host.engine_error else "cordoned" if self.host.cordoned else "online"


def host_rows() -> list[HostRow]:
    """Return every host, by name; one query."""
    return [HostRow(host, host.node_count) for host in hosts_of.with_counts()]  # type: ignore[attr-defined]


def node_rows(nodes: Iterable[Node]) -> list[NodeRow]:
    """Return rows of nodes, which have their group and host with them; one query."""
    found = list(nodes)
    history = cpu_history([node.id for node in found])
    return [NodeRow(node, history.get(node.id, [0.0] * HISTORY_MINUTES)) for node in found]


def present() -> list[Node]:
    """Return all nodes that are not removed, with group and host, by name; one query."""
    there = Node.objects.exclude(status=NodeStatus.REMOVED).select_related("group", "host")
    return sorted(there, key=lambda node: (node.group.name, node.created_at, node.id))


def removed() -> list[Node]:
    """Return the nodes that were removed last; one query."""
    gone = Node.objects.filter(status=NodeStatus.REMOVED).select_related("group", "host")
    return list(gone.order_by("-finished_at", "-id")[:REMOVED_SHOWN])


def group_rows(rows: Sequence[NodeRow], *, with_empty: bool) -> list[GroupRow]:
    """Return rows by their groups; `with_empty`: also groups that have no node now. One query where asked to."""
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
    """Return nodes' CPU percent minute by minute, the newest last, of those that have any; one query, none for no node."""
    if not ids:
        return {}
    now = timezone.now()
    since = now - timedelta(minutes=HISTORY_MINUTES)
    with connection.cursor() as cursor:
        cursor.execute(_CPU, {"now": now, "since": since, "nodes": list(ids)})
        found: dict[UUID, list[float]] = defaultdict(lambda: [0.0] * HISTORY_MINUTES)
        for node, minutes_ago, percent in cursor.fetchall():
            if minutes_ago < HISTORY_MINUTES:
                found[node][HISTORY_MINUTES - 1 - minutes_ago] = percent
    return found
