"""Forget a Docker host that does not come back: its nodes count as removed, and running ones are replaced on other hosts.

Whether its containers still run cannot be known. They do no harm (claims let a task run once wherever its message goes), and if
the host comes back, its agent removes containers whose node no longer exists. For that the host's row stays, hidden, with the
key that labels its containers.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from infra_app import nodes
from infra_app.models import Host, HostSnapshot, Node, NodeEvent, NodeGroup
from infra_app.models.group import GroupKind
from infra_app.states import HOST_LOST_AFTER, Desired, NodeStatus
from zenith_site.common.errors import StateConflictError
from zenith_site.common.live_updates import refresh_pages

#: Groups that an error message names at most.
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class ForgetOutcome:
    """The effect of forgetting a host: the names of its nodes, and how many replacements are created."""

    removed: list[str]
    replaced: int


def preview(host: Host) -> ForgetOutcome:
    """Return what forgetting a host would do, without doing it. Raises StateConflictError if it cannot be forgotten."""
    _refuse_unless_forgettable(host)
    lost = _nodes_of(host)
    return ForgetOutcome([node.name for node in lost], sum(_needs_replacement(node) for node in lost))


def forget(host: Host, by: str) -> ForgetOutcome:
    """Mark a host and its nodes as removed, and create replacements elsewhere for the nodes that were desired to run.

    Raises StateConflictError if its agent is online or a group is bound to it, or redis.RedisError.
    """
    with transaction.atomic():
        # Its agent may come back right now: either its heartbeat waits for this commit, or this sees the heartbeat.
        locked = Host.objects.select_for_update(no_key=True).filter(pk=host.pk).first()
        if locked is None:
            raise StateConflictError(f"Host {host.name} is already forgotten.")
        _refuse_unless_forgettable(locked)
        # Revoke the lease: an agent that only hung has to take it again, which brings the host back.
        Host.objects.filter(pk=host.pk).update(forgotten_at=timezone.now(), agent_id=None)
        lost = nodes.locked_nodes(_nodes_of(host).values_list("pk", flat=True))
        # This also closes groups that have no other node.
        nodes.act("remove", [node.pk for node in lost if not _needs_replacement(node)], by)
        _write_off(lost, host, by)
        replaced = _replace({node.group_id for node in lost if _needs_replacement(node)}, by)
        # The agent of the swarm's manager reports where a service's tasks run and how they are.
        Node.objects.filter(host=host, group__kind=GroupKind.SERVICE).update(host=None)
        HostSnapshot.objects.filter(host=host).delete()
        transaction.on_commit(lambda: refresh_pages("nodes"))
    return ForgetOutcome([node.name for node in lost], replaced)


def _refuse_unless_forgettable(host: Host) -> None:
    """Raise StateConflictError if its agent is online, or if a group is bound to this host and could run nowhere else."""
    if host.agent_online:
        raise StateConflictError(
            f"The agent of host {host.name} sent a heartbeat in the last {HOST_LOST_AFTER:.0f} s. "
            "Stop the agent before you forget its host."
        )
    pinned = list(NodeGroup.objects.filter(host=host, removed_at=None).values_list("name", flat=True)[: _NAMED + 1])
    if pinned:
        more = " and others" if len(pinned) > _NAMED else ""
        names = ", ".join(pinned[:_NAMED])
        raise StateConflictError(f"These groups may run on host {host.name} only: {names}{more}. Remove them first.")


def _nodes_of(host: Host) -> "QuerySet[Node]":
    nodes_on_host = Node.objects.filter(host=host, group__kind=GroupKind.CONTAINERS).exclude(status=NodeStatus.REMOVED)
    return nodes_on_host.order_by("group_id", "pk")


def _needs_replacement(node: Node) -> bool:
    """Whether another node has to take its place."""
    return node.desired == Desired.RUNNING


def _write_off(lost: Sequence[Node], host: Host, by: str) -> None:
    Node.objects.filter(pk__in=[node.pk for node in lost]).update(
        status=NodeStatus.REMOVED, desired=Desired.REMOVED, leaving=False, generation=F("generation") + 1,
        finished_at=timezone.now(), retry_at=None, cpu_percent=None, memory_bytes=None,
        reason=f"Its host {host.name} was forgotten. If the host comes back, the container is removed.",
    )  # fmt: skip
    NodeEvent.objects.bulk_create(
        [NodeEvent(node=node, kind="forgotten", message=f"with its host {host.name} by {by}") for node in lost]
    )


def _replace(group_ids: Collection[UUID], by: str) -> int:
    """Bring groups that lost nodes back to their desired size; return how many nodes were added."""
    groups = NodeGroup.objects.filter(pk__in=group_ids, removed_at=None).order_by("pk")
    return sum(len(nodes.scale(group.pk, group.replicas, by).added) for group in groups)
