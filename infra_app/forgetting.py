"""Forgetting a Docker host that does not come back: its nodes count as removed, and others are made where they were wanted.

Nobody can look, so nobody can tell whether its containers still run. They do no harm meanwhile (a task runs once wherever its
message goes), and should the host come back after all, its agent finds containers that belong to no node any more and removes
them. For that the host's row stays, hidden, with the key that marks its containers.
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

#: Groups that a refusal names.
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Loss:
    """What forgetting a host means, or meant: the names of its nodes, and how many nodes are made in their place."""

    removed: list[str]
    replaced: int


def preview(host: Host) -> Loss:
    """Return what forgetting a host would do, and do nothing. Raises StateConflictError where it cannot be forgotten."""
    _check(host)
    lost = _nodes_of(host)
    return Loss([node.name for node in lost], sum(_is_missed(node) for node in lost))


def forget(host: Host, by: str) -> Loss:
    """Count a host and its nodes as gone, and make as many nodes elsewhere as were wanted to run on it.

    Raises StateConflictError where its agent lives, or a group may run nowhere else; or redis.RedisError.
    """
    with transaction.atomic():
        # Its agent may come back right now: either its sign of life waits for this commit, or this sees it.
        locked = Host.objects.select_for_update(no_key=True).filter(pk=host.pk).first()
        if locked is None:
            raise StateConflictError(f"Host {host.name} is forgotten already.")
        _check(locked)
        # No agent holds it any more: one that was only asleep has to take it anew, which makes it known again.
        Host.objects.filter(pk=host.pk).update(forgotten_at=timezone.now(), agent_id=None)
        lost = nodes.locked_nodes(_nodes_of(host).values_list("pk", flat=True))
        # Ends the groups that have nothing else.
        nodes.act("remove", [node.pk for node in lost if not _is_missed(node)], by)
        _write_off(lost, host, by)
        replaced = _replace({node.group_id for node in lost if _is_missed(node)}, by)
        # Where the tasks of a service are, and how, its swarm's manager says.
        Node.objects.filter(host=host, group__kind=GroupKind.SERVICE).update(host=None)
        HostSnapshot.objects.filter(host=host).delete()
        transaction.on_commit(lambda: refresh_pages("nodes"))
    return Loss([node.name for node in lost], replaced)


def _check(host: Host) -> None:
    """Refuse where its agent lives, or a group is bound to this host: it could run nowhere."""
    if host.agent_online:
        raise StateConflictError(
            f"The agent of host {host.name} gave a sign of life within {HOST_LOST_AFTER:.0f} s; "
            "only a host without an agent is forgotten. Stop it first."
        )
    pinned = list(NodeGroup.objects.filter(host=host, removed_at=None).values_list("name", flat=True)[: _NAMED + 1])
    if pinned:
        more = " and others" if len(pinned) > _NAMED else ""
        names = ", ".join(pinned[:_NAMED])
        raise StateConflictError(f"May run on host {host.name} only: {names}{more}. Remove what is bound to it first.")


def _nodes_of(host: Host) -> "QuerySet[Node]":
    there = Node.objects.filter(host=host, group__kind=GroupKind.CONTAINERS).exclude(status=NodeStatus.REMOVED)
    return there.order_by("group_id", "pk")


def _is_missed(node: Node) -> bool:
    """Whether another node has to do its work."""
    return node.desired == Desired.RUNNING


def _write_off(lost: Sequence[Node], host: Host, by: str) -> None:
    Node.objects.filter(pk__in=[node.pk for node in lost]).update(
        status=NodeStatus.REMOVED, desired=Desired.REMOVED, leaving=False, generation=F("generation") + 1,
        finished_at=timezone.now(), retry_at=None, cpu_percent=None, memory_bytes=None,
        reason=f"Its host {host.name} was forgotten; should that come back, the container is removed.",
    )  # fmt: skip
    NodeEvent.objects.bulk_create(
        [NodeEvent(node=node, kind="forgotten", message=f"with its host {host.name} by {by}") for node in lost]
    )


def _replace(group_ids: Collection[UUID], by: str) -> int:
    """Bring groups that lost nodes back to the size that is wanted; return how many nodes that took."""
    groups = NodeGroup.objects.filter(pk__in=group_ids, removed_at=None).order_by("pk")
    return sum(len(nodes.scale(group.pk, group.replicas, by).added) for group in groups)
