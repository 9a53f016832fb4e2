"""Giving nodes that wait for a host one, where there is room; who has none keeps waiting, and says why.

It looks at what is (level-triggered), so it may be called at any time, by anybody, and any number of times.
"""

from collections import defaultdict
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Q, Sum

from infra_app.models import Host, Node, NodeEvent, NodeGroup
from infra_app.models.group import GroupKind
from infra_app.placement import HostCapacity, ResourceRequest, Unschedulable, choose
from infra_app.states import HOLDS_ROOM, Desired, NodeStatus
from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.live_updates import refresh_pages

_MB: Final = 1 << 20
#: Nodes placed at a time.
_CHUNK: Final = 500
#: What takes room on a host.
TAKES_ROOM: Final = (Q(desired=Desired.RUNNING) | Q(status__in=HOLDS_ROOM)) & ~Q(status=NodeStatus.REMOVED)


def place_waiting() -> int:
    """Place every node that waits and has room somewhere; return how many were placed.

    Two at once take turns: a host is never promised twice.
    """
    waits = Node.objects.filter(host=None, desired=Desired.RUNNING, group__kind=GroupKind.CONTAINERS)
    if not waits.exists():
        return 0
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.SCHEDULER])
        # Whoever changes a node right now places it as well.
        waiting = list(waits.select_related("group__host").select_for_update(of=("self",), skip_locked=True)[:_CHUNK])
        placed = _place(waiting)
        if placed:
            transaction.on_commit(lambda: refresh_pages("nodes"))
    return placed


def host_capacities(group: NodeGroup | None = None) -> list[HostCapacity]:
    """Return what every host has left, by name; `alike` counts the nodes of the group. Two queries."""
    taken = Node.objects.filter(TAKES_ROOM, host__isnull=False).order_by().values_list("host_id")
    sums = taken.annotate(Sum("group__cpus"), Sum("group__memory_mb"))
    by_host = {host_id: (cpus, memory_mb) for host_id, cpus, memory_mb in sums}
    alike = _alike(group) if group else {}
    return [_room(host, by_host.get(host.pk, (0.0, 0)), alike.get(host.pk, 0)) for host in Host.objects.order_by("name")]


def resource_request(group: NodeGroup) -> ResourceRequest:
    """Return what a node of a group needs; reads its host."""
    host = group.host.name if group.host else ""
    return ResourceRequest(cpus=group.cpus, memory_mb=group.memory_mb, host=host, region=group.region, labels=group.labels)


def _place(waiting: list[Node]) -> int:
    by_group: dict[NodeGroup, list[Node]] = defaultdict(list)
    for node in sorted(waiting, key=lambda node: (node.created_at, node.id)):
        by_group[node.group].append(node)
    hosts = {host.name: host for host in Host.objects.all()} if by_group else {}
    placed = 0
    for group, nodes in by_group.items():
        wish, free = resource_request(group), {room.host: room for room in host_capacities(group)}
        for node in nodes:
            found = choose(wish, list(free.values()))
            if isinstance(found, Unschedulable):
                _keep_waiting(node, found)
                continue
            free[found.host] = found.less(wish)
            _settle(node, hosts[found.host])
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


def _room(host: Host, taken: tuple[float, int], alike: int) -> HostCapacity:
    cpus = host.cpus * settings.ZENITH_CPU_OVERCOMMIT
    memory_mb = host.memory_bytes // _MB
    return HostCapacity(
        host=host.name, cpus=cpus, cpus_free=cpus - taken[0],
        memory_mb=memory_mb, memory_free_mb=memory_mb - taken[1],
        online=host.online, cordoned=host.cordoned, region=host.region, labels=host.labels, alike=alike,
    )  # fmt: skip


def _alike(group: NodeGroup) -> dict[int, int]:
    mine = Node.objects.filter(TAKES_ROOM, group=group, host__isnull=False).order_by()
    return dict(mine.values_list("host_id").annotate(Count("id")))
