"""What is wanted of nodes: the one module that writes it. Pages, API and commands call it; agents make it so.

1. `deploy` writes a group and its nodes, and gives each a host where one has room.
2. `act` changes what is wanted of some nodes: ACTIONS in states.py says what can be done with a node that is wanted so.
3. `scale` makes a group larger, or smaller: then the idlest of its nodes are drained, and removed once they are.
4. `change` changes what the nodes of a group run, and has their containers replaced.
5. `remove_group` ends a group and all its nodes.

Every change is one transaction: the group's row is locked first (so changes of one group take turns), a node changes by a
conditional UPDATE whose count says whether it did, and an event says who wanted it. Open pages hear of it after the commit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from infra_app import scheduler, work
from infra_app.errors import NoHostOnlineError, UnknownGroupError
from infra_app.models import Host, Node, NodeEvent, NodeGroup
from infra_app.models.group import GroupKind
from infra_app.states import ACTIONS, Desired, NodeStatus
from infra_app.validation import Deployment, check, check_replicas
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.live_updates import refresh_pages
from zenith_worker.wire.ids import new_id

#: Where a node is once nothing more is wanted of it than this, as long as no agent has it.
_WITHOUT_HOST: Final = {
    Desired.RUNNING: NodeStatus.PENDING,
    Desired.DRAINED: NodeStatus.STOPPED,
    Desired.STOPPED: NodeStatus.STOPPED,
    Desired.REMOVED: NodeStatus.REMOVED,
}
#: What each action wants of a node; a restart keeps it, and has the container replaced.
_WANTS: Final = {
    "drain": Desired.DRAINED, "stop": Desired.STOPPED, "start": Desired.RUNNING, "restart": None, "remove": Desired.REMOVED,
}  # fmt: skip
VERBS: Final = tuple(_WANTS)


@dataclass(frozen=True, slots=True)
class Refused:
    """A node that was left as it is, and why."""

    node: Node
    reason: str


@dataclass(slots=True)
class NodeChanges:
    """What came of an action: the nodes as they are wanted now, and those that were left alone."""

    done: list[Node] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A group's change of size."""

    group: NodeGroup
    before: int
    added: list[Node]
    leaving: list[Node]


def deploy(asked: Deployment, by: str) -> NodeGroup:
    """Write a group and its nodes; those that no host has room for wait.

    Raises InvalidInputError, StateConflictError where the name is taken, and NoHostOnlineError.
    """
    asked, host = _deployable(asked)
    with transaction.atomic():
        group = _new_group(asked, host, by)
        if group.kind == GroupKind.CONTAINERS:
            _add(group, asked.replicas, f"deployed by {by}")
        _tell()
    return group


def try_deploy(asked: Deployment) -> None:
    """Raise what `deploy` would, but for a name that is taken; write nothing."""
    _deployable(asked)


def act(verb: str, node_ids: Iterable[UUID], by: str) -> NodeChanges:
    """Do one thing with some nodes, in one transaction; what cannot be done with a node leaves it as it is.

    Args:
        verb: one of VERBS.
        by: who wants it, for people to read.
    """
    outcome = NodeChanges()
    with transaction.atomic():
        nodes = locked_nodes(node_ids)
        for node in nodes:
            if reason := _refusal(verb, node):
                outcome.refused.append(Refused(node, reason))
            elif _change(node, verb, f"{verb} wanted by {by}"):
                outcome.done.append(node)
        _recount({node.group_id for node in outcome.done}, ended=verb == "remove")
        scheduler.place_waiting()
        if outcome.done:
            _tell()
    return outcome


def scale(group_id: UUID, replicas: int, by: str) -> Scaled:
    """Have a group run so many nodes. Raises UnknownGroupError, InvalidInputError or redis.RedisError."""
    check_replicas(replicas)
    busy = _busy()
    with transaction.atomic():
        group = locked_group(group_id)
        before = group.replicas
        running = list(group.nodes.filter(desired=Desired.RUNNING).select_for_update()) if _of_containers(group) else []
        added = _add(group, replicas - len(running), f"scaled to {replicas} by {by}") if _of_containers(group) else []
        leaving = sorted(running, key=lambda node: _idlest(node, busy))[: max(0, len(running) - replicas)]
        for node in leaving:
            _leave(node, f"scaled to {replicas} by {by}")
        group.replicas = replicas
        group.save(update_fields=["replicas"])
        _tell()
    return Scaled(group, before, added, leaving)


def change(group_id: UUID, by: str, **changes: Any) -> NodeGroup:
    """Change what the nodes of a group run, and replace their containers. `changes` are members of Deployment.

    Raises UnknownGroupError or InvalidInputError.
    """
    with transaction.atomic():
        group = locked_group(group_id)
        asked = replace(Deployment.of(group), **changes)
        check(asked)
        for name in changes:
            setattr(group, name, _storable(getattr(asked, name)))
        group.save(update_fields=list(changes))
        changeable = [desired for desired, actions in ACTIONS.items() if "update" in actions]
        nodes = list(group.nodes.filter(desired__in=changeable).select_for_update())
        for node in nodes:
            _write(node, "update", f"{', '.join(sorted(changes))} changed by {by}", revision=F("revision") + 1)
        _tell()
    return group


def remove_group(group_id: UUID, by: str) -> list[Node]:
    """Remove all nodes of a group, and the group with them; return the nodes. Raises UnknownGroupError."""
    with transaction.atomic():
        group = locked_group(group_id)
        nodes = list(group.nodes.exclude(desired=Desired.REMOVED).select_for_update())
        for node in nodes:
            _want(node, Desired.REMOVED, "remove", f"group removed by {by}")
        _end(group)
        _tell()
    return nodes


def remove_drained() -> int:
    """Remove the nodes that were to leave once they are drained, and are; return how many."""
    drained = Node.objects.filter(leaving=True, desired=Desired.DRAINED, status__in=(NodeStatus.STOPPED, NodeStatus.FAILED))
    with transaction.atomic():
        nodes = list(drained.select_for_update(skip_locked=True)[:500])
        for node in nodes:
            _want(node, Desired.REMOVED, "remove", "drained, and not needed any more")
        if nodes:
            _tell()
    return len(nodes)


def possible(node: Node) -> frozenset[str]:
    """Return what can be done with a node now; reads its group."""
    return frozenset() if node.group.kind == GroupKind.SERVICE else ACTIONS[Desired(node.desired)]


def _deployable(asked: Deployment) -> tuple[Deployment, Host | None]:
    """Return what is asked for with nothing left open, and its host where it may only be one."""
    asked = _complete(asked)
    check(asked)
    hosts = list(Host.objects.all())
    if not any(host.online for host in hosts):
        raise NoHostOnlineError
    return asked, _host_of(asked, hosts)


def _complete(asked: Deployment) -> Deployment:
    """Fill in the name and the image where none is asked for."""
    name = asked.name or f"node-{new_id().hex[-6:]}"
    return replace(asked, name=name, image=asked.image or settings.ZENITH_WORKER_IMAGE)


def _host_of(asked: Deployment, hosts: Sequence[Host]) -> Host | None:
    """Return the host that is asked for; of a service the manager that keeps it. Raises InvalidInputError."""
    named = next((host for host in hosts if host.name == asked.host), None)
    if asked.host and named is None:
        known = ", ".join(host.name for host in hosts)
        raise InvalidInputError(Problem("/host", f"there is no host {asked.host[:63]!r}; there are: {known}"))
    if asked.kind != GroupKind.SERVICE:
        return named
    manager = next((host for host in ([named] if named else hosts) if host.swarm_manager and host.online), None)
    if manager is None:
        where = f"host {named.name}" if named else "no host"
        raise InvalidInputError(Problem("/kind", f"{where} is {'not ' if named else ''}a Swarm manager that is online"))
    return manager


def _new_group(asked: Deployment, host: Host | None, by: str) -> NodeGroup:
    group = NodeGroup(
        name=asked.name, kind=asked.kind, replicas=asked.replicas, image=asked.image, queues=list(asked.queues),
        concurrency=asked.concurrency, memory_mb=asked.memory_mb, cpus=asked.cpus, environment=dict(asked.environment),
        secrets=dict(asked.secrets), restart_policy=asked.restart_policy, region=asked.region, labels=dict(asked.labels),
        host=host, created_by=by[:200],
    )  # fmt: skip
    try:
        with transaction.atomic():
            group.save(force_insert=True)
    except IntegrityError:
        raise StateConflictError(f"There is a group {asked.name!r} already; scale it, or take another name.") from None
    return group


def _add(group: NodeGroup, count: int, why: str) -> list[Node]:
    """Write nodes of a group and place them."""
    if count <= 0:
        return []
    nodes = [Node(group=group, name=name) for name in _free_names(group, count)]
    try:
        with transaction.atomic():
            Node.objects.bulk_create(nodes)
    except IntegrityError:
        raise StateConflictError(f"A node of such a name is being made right now; try again to deploy {group.name!r}.") from None
    NodeEvent.objects.bulk_create([NodeEvent(node=node, kind="deployed", message=why) for node in nodes])
    scheduler.place_waiting()
    return list(Node.objects.filter(id__in=[node.id for node in nodes]).select_related("group", "host").order_by("id"))


def _free_names(group: NodeGroup, count: int) -> list[str]:
    """Return the first names that no node has: that of the group, and with numbers from 2."""
    there = Node.objects.exclude(status=NodeStatus.REMOVED).filter(name__startswith=group.name)
    taken = set(there.values_list("name", flat=True))
    names: list[str] = []
    number = 1
    while len(names) < count:
        name = group.name if number == 1 else f"{group.name}-{number}"
        if name not in taken:
            names.append(name)
        number += 1
    return names


def locked_group(group_id: UUID) -> NodeGroup:
    """Return a group with its row locked until the transaction ends. Raises UnknownGroupError."""
    group = NodeGroup.objects.select_for_update(of=("self",)).select_related("host").filter(pk=group_id, removed_at=None).first()
    if group is None:
        raise UnknownGroupError(group_id)
    return group


def locked_nodes(node_ids: Iterable[UUID]) -> list[Node]:
    """Return nodes, locked after their groups until the transaction ends, in an order that is always the same."""
    ids = list(node_ids)
    groups = NodeGroup.objects.filter(pk__in=Node.objects.filter(pk__in=ids).values("group_id"))
    list(groups.order_by("pk").select_for_update())
    nodes = Node.objects.filter(pk__in=ids).order_by("pk")
    return list(nodes.select_for_update(of=("self",)).select_related("group", "host"))


def _refusal(verb: str, node: Node) -> str:
    """Say why this cannot be done with a node; nothing where it can."""
    if node.group.kind == GroupKind.SERVICE:
        return f"{node.name} is kept by its swarm; scale or remove the service {node.group.name}."
    if verb not in ACTIONS[Desired(node.desired)]:
        return f"{node.name} is wanted {Desired(node.desired).label.lower()}: {verb} is not possible."
    return ""


def _change(node: Node, verb: str, why: str) -> bool:
    wanted = _WANTS[verb]
    if wanted is None:
        return _write(node, verb, why, revision=F("revision") + 1)
    return _want(node, wanted, verb, why)


def _leave(node: Node, why: str) -> None:
    """Have a node drained and then removed; one that never ran is removed at once."""
    if node.host_id is None:
        _want(node, Desired.REMOVED, "remove", why)
    else:
        _want(node, Desired.DRAINED, "drain", why, leaving=True)


def _want(node: Node, desired: Desired, kind: str, why: str, *, leaving: bool = False) -> bool:
    values: dict[str, Any] = {"desired": desired, "leaving": leaving}
    if node.host_id is None:
        ended = desired is Desired.REMOVED
        values |= {"status": _WITHOUT_HOST[desired], "reason": "", "finished_at": timezone.now() if ended else None}
    return _write(node, kind, why, **values)


def _write(node: Node, kind: str, why: str, **values: Any) -> bool:
    """Change a node that is still wanted as it was read, with its event; return whether it was."""
    same = Node.objects.filter(pk=node.pk, desired=node.desired, generation=node.generation)
    if not same.update(generation=F("generation") + 1, **values):
        return False
    node.refresh_from_db(fields=["generation", *values])
    NodeEvent.objects.create(node=node, kind=kind, message=why)
    return True


def _recount(group_ids: Iterable[UUID], *, ended: bool) -> None:
    """Write how many nodes of these groups are wanted to run; `ended`: one without any node left ends."""
    for group in NodeGroup.objects.filter(pk__in=group_ids, kind=GroupKind.CONTAINERS):
        group.replicas = group.nodes.filter(desired=Desired.RUNNING).count()
        group.save(update_fields=["replicas"])
        if ended and not group.nodes.exclude(desired=Desired.REMOVED).exists():
            _end(group)


def _end(group: NodeGroup) -> None:
    group.removed_at, group.replicas, group.autoscale = timezone.now(), 0, False
    group.save(update_fields=["removed_at", "replicas", "autoscale"])


def _of_containers(group: NodeGroup) -> bool:
    return group.kind == GroupKind.CONTAINERS


def _busy() -> Callable[[Node], int]:
    """Return what tells how many tasks a node's worker has."""
    beats = work.beats()

    def count(node: Node) -> int:
        beat = beats.get(node.worker)
        return max(beat.busy, beat.held) if beat else 0

    return count


def _idlest(node: Node, busy: Callable[[Node], int]) -> tuple[Any, ...]:
    """Order nodes by what is lost when they leave: first those that do not run, then the least busy, then the newest."""
    return (node.host_id is not None, node.status == NodeStatus.READY, busy(node), -node.created_at.timestamp())


def _storable(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if hasattr(value, "keys") else value


def _tell() -> None:
    transaction.on_commit(lambda: refresh_pages("nodes"))
