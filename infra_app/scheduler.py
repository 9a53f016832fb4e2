"""Place waiting nodes on hosts that have room; a node that fits nowhere keeps waiting, with the reason.

Level-triggered and idempotent: it may be called at any time, by any process, any number of times.
"""

from collections import defaultdict
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Q, Sum

from infra_app.models import Host, Node, NodeEvent, NodeGroup
from infra_app.models.group import GroupKind
from infra_app.placement import HostCapacity, ResourceRequest, Unschedulable, choose
from infra_app.states import RESERVES_CAPACITY, Desired, NodeStatus
from zenith_site.common.live_updates import refresh_pages

#: Any number, the same everywhere: who holds it may count what the hosts have left.
_LOCK: Final = 6_110_001
_MB: Final = 1 << 20
#: Nodes placed in one call at most.
_CHUNK: Final = 500
#: Nodes that reserve capacity on their host.
RESERVES_CAPACITY_Q: Final = (Q(desired=Desired.RUNNING) | Q(status__in=RESERVES_CAPACITY)) & ~Q(status=NodeStatus.REMOVED)


def place_waiting() -> int:
    """Place every waiting node that fits on a host; return how many were placed.

    Concurrent calls take turns, so the same capacity is never allocated twice.
    """
    unplaced = Node.objects.filter(host=None, desired=Desired.RUNNING, group__kind=GroupKind.CONTAINERS)
    if not unplaced.exists():
        return 0
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        # A locked row is being changed by a transaction that places it itself.
        waiting = list(unplaced.select_related("group__host").select_for_update(of=("self",), skip_locked=True)[:_CHUNK])
        placed = _place(waiting)
        if placed:
            transaction.on_commit(lambda: refresh_pages("nodes"))
    return placed


def host_capacities(group: NodeGroup | None = None) -> list[HostCapacity]:
    """Return what every host has free, ordered by name; `alike` counts the nodes of the group. Two queries."""
    reserved = Node.objects.filter(RESERVES_CAPACITY_Q, host__isnull=False).order_by().values_list("host_id")
    sums = reserved.annotate(Sum("group__cpus"), Sum("group__memory_mb"))
    by_host = {host_id: (cpus, memory_mb) for host_id, cpus, memory_mb in sums}
    alike = _nodes_of_group_by_host(group) if group else {}
    return [_capacity(host, by_host.get(host.pk, (0.0, 0)), alike.get(host.pk, 0)) for host in Host.objects.order_by("name")]


def resource_request(group: NodeGroup) -> ResourceRequest:
    """Return what a node of a group needs; reads the group's host."""
    host = group.host.name if group.host else ""
    return ResourceRequest(cpus=group.cpus, memory_mb=group.memory_mb, host=host, region=group.region, labels=group.labels)


def _place(waiting: list[Node]) -> int:
    by_group: dict[NodeGroup, list[Node]] = defaultdict(list)
    for node in sorted(waiting, key=lambda node: (node.created_at, node.id)):
        by_group[node.group].append(node)
    hosts = {host.name: host for host in Host.objects.all()} if by_group else {}
    placed = 0
    for group, nodes in by_group.items():
        request, free = resource_request(group), {capacity.name: capacity for capacity in host_capacities(group)}
        for node in nodes:
            choice = choose(request, list(free.values()))
            if isinstance(choice, Unschedulable):
                _keep_waiting(node, choice)
                continue
            free[choice.name] = choice.after_placing(request)
            _settle(node, hosts[choice.name])
            placed += 1
    return placed


def _settle(node: Node, host: Host) -> None:
    node.host, node.reason = host, ""
    node.save(update_fields=["host", "reason"])
    NodeEvent.objects.create(node=node, kind="placed", message=f"on {host.name}")


def _keep_waiting(node: Node, why: Unschedulable) -> None:
    if node.reason != why.reason:
        node.reason = why.reason
        node.save(update_fields=["reason"])
        NodeEvent.objects.create(node=node, kind="waiting", message=why.reason)
        transaction.on_commit(lambda: refresh_pages("nodes"))


def _capacity(host: Host, reserved: tuple[float, int], alike: int) -> HostCapacity:
    cpus = host.cpus * settings.ZENITH_CPU_OVERCOMMIT
    memory_mb = host.memory_bytes // _MB
    return HostCapacity(
        name=host.name, cpus=cpus, cpus_free=cpus - reserved[0],
        memory_mb=memory_mb, memory_free_mb=memory_mb - reserved[1],
        online=host.online, cordoned=host.cordoned, region=host.region, labels=host.labels, alike=alike,
    )  # fmt: skip


def _nodes_of_group_by_host(group: NodeGroup) -> dict[int, int]:
    nodes_of_group = Node.objects.filter(RESERVES_CAPACITY_Q, group=group, host__isnull=False).order_by()
    return dict(nodes_of_group.values_list("host_id").annotate(Count("id")))
