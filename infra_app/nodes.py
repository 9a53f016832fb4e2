"""Write the desired state of nodes. Pages, API and commands call this module, its only writer; agents act on what it writes.

1. `deploy` creates a group and its nodes, and places each node on a host if one has room.
2. `act` changes the desired state of some nodes: ACTIONS in states.py says which actions each state allows.
3. `scale` changes a group's size. To shrink it, the idlest nodes are drained and removed once drained.
4. `change` changes what the nodes of a group run, and replaces their containers.
5. `remove_group` removes a group and all its nodes.

Every change is one transaction: the group's row is locked first, so changes of one group take turns; a node changes by a
conditional UPDATE whose row count says whether it did; an event records who requested it. Open pages refresh after the commit.
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
from infra_app.validation import Deployment, check_deployment, check_replicas
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.live_updates import refresh_pages
from zenith_worker.wire.ids import new_id

#: The status of a node without a host, by its desired state: there is no agent to write it.
_WITHOUT_HOST: Final = {
    Desired.RUNNING: NodeStatus.PENDING,
    Desired.DRAINED: NodeStatus.STOPPED,
    Desired.STOPPED: NodeStatus.STOPPED,
    Desired.REMOVED: NodeStatus.REMOVED,
}
#: The desired state after each action; a restart keeps the state and replaces the container.
_DESIRED_AFTER: Final = {
    "drain": Desired.DRAINED, "stop": Desired.STOPPED, "start": Desired.RUNNING, "restart": None, "remove": Desired.REMOVED,
}  # fmt: skip
VERBS: Final = tuple(_DESIRED_AFTER)


@dataclass(frozen=True, slots=True)
class Refused:
    """A node that was not changed, and why."""

    node: Node
    reason: str


@dataclass(slots=True)
class NodeChanges:
    """The result of an action: the changed nodes, and those that were refused."""

    done: list[Node] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A group's change of size."""

    group: NodeGroup
    before: int
    added: list[Node]
    leaving: list[Node]


def deploy(deployment: Deployment, by: str) -> NodeGroup:
    """Create a group and its nodes; nodes that fit on no host wait.

    Raises InvalidInputError, StateConflictError if the name is taken, and NoHostOnlineError.
    """
    deployment, host = _deployable(deployment)
    with transaction.atomic():
        group = _new_group(deployment, host, by)
        if group.kind == GroupKind.CONTAINERS:
            _add_nodes(group, deployment.replicas, f"deployed by {by}")
        _refresh_pages()
    return group


def check_deployable(deployment: Deployment) -> None:
    """Raise what `deploy` would raise, except for a taken name; write nothing."""
    _deployable(deployment)


def act(verb: str, node_ids: Iterable[UUID], by: str) -> NodeChanges:
    """Apply an action to some nodes in one transaction; a node that does not allow it is not changed.

    Args:
        verb: one of VERBS.
        by: who requested it, for people to read.
    """
    outcome = NodeChanges()
    with transaction.atomic():
        nodes = locked_nodes(node_ids)
        for node in nodes:
            if reason := _refusal(verb, node):
                outcome.refused.append(Refused(node, reason))
            elif _apply_verb(node, verb, f"{verb} requested by {by}"):
                outcome.done.append(node)
        _recount({node.group_id for node in outcome.done}, close_empty=verb == "remove")
        scheduler.place_waiting()
        if outcome.done:
            _refresh_pages()
    return outcome


def scale(group_id: UUID, replicas: int, by: str) -> Scaled:
    """Change a group's number of nodes. Raises UnknownGroupError, InvalidInputError or redis.RedisError."""
    check_replicas(replicas)
    task_count = _task_counter()
    with transaction.atomic():
        group = locked_group(group_id)
        before = group.replicas
        running = list(group.nodes.filter(desired=Desired.RUNNING).select_for_update()) if _has_containers(group) else []
        added = _add_nodes(group, replicas - len(running), f"scaled to {replicas} by {by}") if _has_containers(group) else []
        leaving = sorted(running, key=lambda node: _removal_order(node, task_count))[: max(0, len(running) - replicas)]
        for node in leaving:
            _drain_then_remove(node, f"scaled to {replicas} by {by}")
        group.replicas = replicas
        group.save(update_fields=["replicas"])
        _refresh_pages()
    return Scaled(group, before, added, leaving)


def change(group_id: UUID, by: str, **changes: Any) -> NodeGroup:
    """Change what the nodes of a group run, and replace their containers. `changes` are members of Deployment.

    Raises UnknownGroupError or InvalidInputError.
    """
    with transaction.atomic():
        group = locked_group(group_id)
        deployment = replace(Deployment.of(group), **changes)
        check_deployment(deployment)
        for name in changes:
            setattr(group, name, _as_column_value(getattr(deployment, name)))
        group.save(update_fields=list(changes))
        changeable = [desired for desired, actions in ACTIONS.items() if "update" in actions]
        nodes = list(group.nodes.filter(desired__in=changeable).select_for_update())
        for node in nodes:
            _update_node(node, "update", f"{', '.join(sorted(changes))} changed by {by}", revision=F("revision") + 1)
        _refresh_pages()
    return group


def remove_group(group_id: UUID, by: str) -> list[Node]:
    """Remove all nodes of a group, and the group with them; return the nodes. Raises UnknownGroupError."""
    with transaction.atomic():
        group = locked_group(group_id)
        nodes = list(group.nodes.exclude(desired=Desired.REMOVED).select_for_update())
        for node in nodes:
            _set_desired(node, Desired.REMOVED, "remove", f"group removed by {by}")
        _close_group(group)
        _refresh_pages()
    return nodes


def remove_drained() -> int:
    """Remove the leaving nodes that are drained by now; return how many."""
    drained = Node.objects.filter(leaving=True, desired=Desired.DRAINED, status__in=(NodeStatus.STOPPED, NodeStatus.FAILED))
    with transaction.atomic():
        nodes = list(drained.select_for_update(skip_locked=True)[:500])
        for node in nodes:
            _set_desired(node, Desired.REMOVED, "remove", "drained, and no longer needed")
        if nodes:
            _refresh_pages()
    return len(nodes)


def allowed_actions(node: Node) -> frozenset[str]:
    """Return the actions that a node allows now; reads its group."""
    return frozenset() if node.group.kind == GroupKind.SERVICE else ACTIONS[Desired(node.desired)]


def _deployable(deployment: Deployment) -> tuple[Deployment, Host | None]:
    """Return the deployment with defaults filled in, and its host if it is bound to one."""
    deployment = _with_defaults(deployment)
    check_deployment(deployment)
    hosts = list(Host.objects.all())
    if not any(host.online for host in hosts):
        raise NoHostOnlineError
    return deployment, _host_of(deployment, hosts)


def _with_defaults(deployment: Deployment) -> Deployment:
    """Fill in a missing name and image."""
    name = deployment.name or f"node-{new_id().hex[-6:]}"
    return replace(deployment, name=name, image=deployment.image or settings.ZENITH_WORKER_IMAGE)


def _host_of(deployment: Deployment, hosts: Sequence[Host]) -> Host | None:
    """Return the requested host; for a service, the Swarm manager that runs it. Raises InvalidInputError."""
    requested_host = next((host for host in hosts if host.name == deployment.host), None)
    if deployment.host and requested_host is None:
        names = ", ".join(host.name for host in hosts)
        raise InvalidInputError(Problem("/host", f"there is no host {deployment.host[:63]!r}; known hosts: {names}"))
    if deployment.kind != GroupKind.SERVICE:
        return requested_host
    manager = next((host for host in ([requested_host] if requested_host else hosts) if host.swarm_manager and host.online), None)
    if manager is None:
        subject = f"host {requested_host.name} is not" if requested_host else "no host is"
        raise InvalidInputError(Problem("/kind", f"{subject} a Swarm manager that is online"))
    return manager


def _new_group(deployment: Deployment, host: Host | None, by: str) -> NodeGroup:
    group = NodeGroup(
        name=deployment.name, kind=deployment.kind, replicas=deployment.replicas, image=deployment.image,
        queues=list(deployment.queues), concurrency=deployment.concurrency, memory_mb=deployment.memory_mb, cpus=deployment.cpus,
        environment=dict(deployment.environment), secrets=dict(deployment.secrets), restart_policy=deployment.restart_policy,
        region=deployment.region, labels=dict(deployment.labels), host=host, created_by=by[:200],
    )  # fmt: skip
    try:
        with transaction.atomic():
            group.save(force_insert=True)
    except IntegrityError:
        raise StateConflictError(f"A group {deployment.name!r} already exists. Scale it, or choose another name.") from None
    return group


def _add_nodes(group: NodeGroup, count: int, why: str) -> list[Node]:
    """Create nodes of a group and place them."""
    if count <= 0:
        return []
    nodes = [Node(group=group, name=name) for name in _free_names(group, count)]
    try:
        with transaction.atomic():
            Node.objects.bulk_create(nodes)
    except IntegrityError:
        raise StateConflictError(
            f"Another request is creating a node with the same name. Try again to deploy {group.name!r}."
        ) from None
    NodeEvent.objects.bulk_create([NodeEvent(node=node, kind="deployed", message=why) for node in nodes])
    scheduler.place_waiting()
    return list(Node.objects.filter(id__in=[node.id for node in nodes]).select_related("group", "host").order_by("id"))


def _free_names(group: NodeGroup, count: int) -> list[str]:
    """Return the first free names: the group's own name, then the name with numbers from 2."""
    nodes_of_name = Node.objects.exclude(status=NodeStatus.REMOVED).filter(name__startswith=group.name)
    taken = set(nodes_of_name.values_list("name", flat=True))
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
    """Return nodes with their rows locked until the transaction ends: after their groups, always in the same order."""
    ids = list(node_ids)
    groups = NodeGroup.objects.filter(pk__in=Node.objects.filter(pk__in=ids).values("group_id"))
    list(groups.order_by("pk").select_for_update())
    nodes = Node.objects.filter(pk__in=ids).order_by("pk")
    return list(nodes.select_for_update(of=("self",)).select_related("group", "host"))


def _refusal(verb: str, node: Node) -> str:
    """Return why a node does not allow an action; empty if it does."""
    if node.group.kind == GroupKind.SERVICE:
        return f"{node.name} is managed by its swarm. Scale or remove the service {node.group.name} instead."
    if verb not in ACTIONS[Desired(node.desired)]:
        return f"The desired state of {node.name} is {Desired(node.desired).label.lower()}: {verb} is not possible."
    return ""


def _apply_verb(node: Node, verb: str, why: str) -> bool:
    desired = _DESIRED_AFTER[verb]
    if desired is None:
        return _update_node(node, verb, why, revision=F("revision") + 1)
    return _set_desired(node, desired, verb, why)


def _drain_then_remove(node: Node, why: str) -> None:
    """Drain a node and then remove it; a node that was never placed is removed at once."""
    if node.host_id is None:
        _set_desired(node, Desired.REMOVED, "remove", why)
    else:
        _set_desired(node, Desired.DRAINED, "drain", why, leaving=True)


def _set_desired(node: Node, desired: Desired, kind: str, why: str, *, leaving: bool = False) -> bool:
    values: dict[str, Any] = {"desired": desired, "leaving": leaving}
    if node.host_id is None:
        removed = desired is Desired.REMOVED
        values |= {"status": _WITHOUT_HOST[desired], "reason": "", "finished_at": timezone.now() if removed else None}
    return _update_node(node, kind, why, **values)


def _update_node(node: Node, kind: str, why: str, **values: Any) -> bool:
    """Change a node and add an event, unless its desired state has changed since it was read; return whether it was changed."""
    same = Node.objects.filter(pk=node.pk, desired=node.desired, generation=node.generation)
    if not same.update(generation=F("generation") + 1, **values):
        return False
    node.refresh_from_db(fields=["generation", *values])
    NodeEvent.objects.create(node=node, kind=kind, message=why)
    return True


def _recount(group_ids: Iterable[UUID], *, close_empty: bool) -> None:
    """Set `replicas` of these groups to their number of nodes desired to run; `close_empty`: close groups without nodes."""
    for group in NodeGroup.objects.filter(pk__in=group_ids, kind=GroupKind.CONTAINERS):
        group.replicas = group.nodes.filter(desired=Desired.RUNNING).count()
        group.save(update_fields=["replicas"])
        if close_empty and not group.nodes.exclude(desired=Desired.REMOVED).exists():
            _close_group(group)


def _close_group(group: NodeGroup) -> None:
    group.removed_at, group.replicas, group.autoscale = timezone.now(), 0, False
    group.save(update_fields=["removed_at", "replicas", "autoscale"])


def _has_containers(group: NodeGroup) -> bool:
    return group.kind == GroupKind.CONTAINERS


def _task_counter() -> Callable[[Node], int]:
    """Return a function that counts the tasks of a node's worker."""
    heartbeats = work.worker_heartbeats()

    def count(node: Node) -> int:
        heartbeat = heartbeats.get(node.worker)
        return max(heartbeat.busy, heartbeat.held) if heartbeat else 0

    return count


def _removal_order(node: Node, task_count: Callable[[Node], int]) -> tuple[Any, ...]:
    """Sort key for scaling in: nodes that do not run first, then the least busy, then the newest."""
    return (node.host_id is not None, node.status == NodeStatus.READY, task_count(node), -node.created_at.timestamp())


def _as_column_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if hasattr(value, "keys") else value


def _refresh_pages() -> None:
    transaction.on_commit(lambda: refresh_pages("nodes"))
