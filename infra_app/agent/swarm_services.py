"""Groups of kind SERVICE: a swarm manager's agent keeps a Swarm service for each, and records the service's slots as nodes.

1. A group's service is found by its label. Another label holds a digest of its specification, so a change of the group is
   detected, and a restarted agent changes nothing.
2. Its secrets are Swarm secrets named by a digest of their content: a changed secret gets a new name, and the old one is removed
   once unused.
3. A node is a slot of the service, not one of its tasks: the swarm replaces a failed task, and the node stays. Its id is derived
   from group and slot, so the worker carries it before the node was ever observed (`names.slot_id`).
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Final
from uuid import UUID

from django.conf import settings

from infra_app.agent import record
from infra_app.agent.container_spec import NotReachableError, command, environment, secret_files
from infra_app.agent.heartbeats import HeartbeatCache
from infra_app.agent.loop import Interval
from infra_app.agent.names import GROUP_LABEL, SERVICE_LABEL, SPEC_LABEL, service_name, slot_id, slot_template
from infra_app.agent.node_reconciler import GRACE
from infra_app.agent.plan import how_it_ended
from infra_app.errors import EngineError
from infra_app.gateway import EngineInfo
from infra_app.gateway.swarm import SERVICE_SECRETS_DIRECTORY, Service, ServiceSpec, ServiceTask, Swarm
from infra_app.masked_environment import left_out
from infra_app.models import Host, Node, NodeGroup
from infra_app.models.group import GroupKind, RestartPolicy
from infra_app.models.node import worker_name
from infra_app.states import NodeStatus
from infra_app.work import WorkerHeartbeat
from zenith_site.common.loops import repeat

logger = logging.getLogger(__name__)

#: Seconds between two passes, and between two sweeps for secrets that no service uses any more.
LOOK_EVERY: Final = 1.0
SWEEP_EVERY: Final = 30.0
_CONDITIONS: Final = {RestartPolicy.ALWAYS: "any", RestartPolicy.ON_FAILURE: "on-failure", RestartPolicy.NO: "none"}
#: Docker's states of a task before it starts, and after it ended.
_PENDING: Final = frozenset({"new", "allocated", "pending", "assigned", "accepted"})
_ENDED: Final = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})


class SwarmServices:
    """Reconciles the services of one swarm manager.

    Arguments:
        key: labels what this host's agent created.
        info: returns the engine's latest information.
    """

    def __init__(
        self, swarm: Swarm, host_id: int, key: UUID, heartbeats: HeartbeatCache, info: Callable[[], EngineInfo | None]
    ) -> None:
        self._swarm = swarm
        self._host_id = host_id
        self._labels = {SERVICE_LABEL: str(key)}
        self._owner_label = f"{SERVICE_LABEL}={key}"
        self._heartbeats = heartbeats
        self._info = info
        self._sweep = Interval(SWEEP_EVERY)

    def run(self, stop: threading.Event) -> None:
        """Reconcile the services until stopped."""
        repeat(stop, "agent services", self._look, every=LOOK_EVERY)

    def _look(self) -> None:
        info = self._info()
        if info is None or not info.swarm_manager:
            return
        groups = list(NodeGroup.objects.filter(kind=GroupKind.SERVICE, host_id=self._host_id, removed_at=None))
        removed = NodeGroup.objects.filter(kind=GroupKind.SERVICE, host_id=self._host_id, removed_at__isnull=False)
        removed_groups = list(removed.filter(nodes__in=Node.objects.exclude(status=NodeStatus.REMOVED)).distinct())
        try:
            existing = {service.labels.get(GROUP_LABEL, ""): service for service in self._swarm.services(self._owner_label)}
            sweep = self._sweep.due()
            for group in groups:
                self._settle(group, existing.pop(str(group.pk), None), sweep=sweep)
            for service in existing.values():
                self._swarm.remove(service.id)
                self._drop_secrets(service.labels.get(GROUP_LABEL, ""), keep=())
            for group in removed_groups:
                self._write(group, [])
        except EngineError as error:
            logger.info("The services cannot be reconciled now: %s", error)

    def _settle(self, group: NodeGroup, service: Service | None, *, sweep: bool) -> None:
        try:
            spec = self._spec(group)
        except NotReachableError as error:
            logger.warning("Service %s cannot be started: %s", group.name, error)
            return
        if service is None or service.labels.get(SPEC_LABEL) != spec.labels[SPEC_LABEL]:
            for reason in left_out(group):
                logger.warning("Service %s: %s.", group.name, reason)
            spec = replace(spec, secrets=self._secrets(group))
            if service is None:
                self._swarm.ensure_network(spec.network, self._labels)
                self._swarm.create(spec)
            else:
                self._swarm.update(service, spec)
        elif service.replicas != group.replicas:
            self._swarm.update(service, replace(spec, secrets=self._secrets(group)))
        self._write(group, self._swarm.tasks(spec.name))
        if sweep:
            self._drop_secrets(str(group.pk), keep=tuple(name for name, _, _ in _named_secrets(group)))

    def _spec(self, group: NodeGroup) -> ServiceSpec:
        """Return a group's service without its secrets; the digest covers their names. Raises NotReachableError."""
        variables = environment(group, secret_files(group), SERVICE_SECRETS_DIRECTORY)
        spec = ServiceSpec(
            name=service_name(group.pk), image=group.image, command=command(group),
            labels={**self._labels, GROUP_LABEL: str(group.pk)},
            environment={name: _literal(value) for name, value in variables.items()}
            | {"ZENITH_WORKER_NAME": f"{group.name}.{{{{.Task.Slot}}}}@{slot_template(group.pk)}"},
            network=settings.ZENITH_SERVICE_NETWORK, memory_bytes=group.memory_mb * 1024 * 1024, cpus=group.cpus,
            replicas=group.replicas, restart=_CONDITIONS[RestartPolicy(group.restart_policy)], stop_seconds=GRACE,
            constraints=self._constraints(group),
        )  # fmt: skip
        made_from = {**asdict(spec), "replicas": None, "secrets": [name for name, _, _ in _named_secrets(group)]}
        return replace(spec, labels={**spec.labels, SPEC_LABEL: _digest(json.dumps(made_from, sort_keys=True, default=dict))})

    def _constraints(self, group: NodeGroup) -> tuple[str, ...]:
        """Return constraints that keep tasks off hosts outside the group's region or without its labels."""
        others = Host.every.exclude(swarm_node_id="").order_by("swarm_node_id")
        unwanted = [
            host for host in others if group.region not in ("", host.region) or not group.labels.items() <= host.labels.items()
        ]
        return tuple(f"node.id!={host.swarm_node_id}" for host in unwanted)

    def _secrets(self, group: NodeGroup) -> dict[str, tuple[str, str]]:
        existing = self._swarm.secrets(f"{GROUP_LABEL}={group.pk}")
        labels = {**self._labels, GROUP_LABEL: str(group.pk)}
        return {
            name: (existing.get(name) or self._swarm.create_secret(name, content, labels), file)
            for name, file, content in _named_secrets(group)
        }

    def _drop_secrets(self, group: str, keep: tuple[str, ...]) -> None:
        for name, id_ in self._swarm.secrets(f"{GROUP_LABEL}={group}").items():
            if name not in keep:
                try:
                    self._swarm.remove_secret(id_)
                except EngineError as error:
                    # Tasks that are shutting down still use it; the next sweep tries again.
                    logger.debug("Secret %s is still in use: %s", name, error)

    def _write(self, group: NodeGroup, tasks: list[ServiceTask]) -> None:
        """Record the newest task of each slot as a node."""
        newest: dict[int, ServiceTask] = {}
        for task in sorted(tasks, key=lambda task: (task.desired_state not in _ENDED, task.created_at or 0)):
            newest[task.slot] = task
        nodes = {node.slot: node for node in Node.objects.filter(group=group)}
        hosts = dict(Host.objects.exclude(swarm_node_id="").values_list("swarm_node_id", "pk"))
        heartbeats = self._heartbeats.all() if newest else {}
        for slot, task in sorted(newest.items()):
            node = nodes.pop(slot, None)
            if task.desired_state in _ENDED and task.state in _ENDED:
                if node is not None:
                    record.set_status(node, NodeStatus.REMOVED, "")
                continue
            self._write_slot(node or _new_node(group, slot), task, hosts.get(task.swarm_node), heartbeats)
        for node in nodes.values():
            if node.status != NodeStatus.REMOVED:
                record.set_status(node, NodeStatus.REMOVED, "")

    def _write_slot(self, node: Node, task: ServiceTask, host_id: int | None, heartbeats: dict[str, WorkerHeartbeat]) -> None:
        observed: dict[str, object] = {"host_id": host_id}
        if task.container and task.container != node.container_id:
            observed |= {
                "container_id": task.container,
                "started_at": task.changed_at,
                "restarts": node.restarts + bool(node.container_id),
            }
        if task.state in _ENDED and task.exit_code is not None:
            observed |= {"exit_code": task.exit_code, "finished_at": task.changed_at}
        record.observe(node, **observed)
        status, reason = _status_of(task, heartbeats.get(worker_name(node)))
        if (node.status, node.reason) != (status, reason):
            record.set_status(node, status, reason)


def _status_of(task: ServiceTask, heartbeat: WorkerHeartbeat | None) -> tuple[NodeStatus, str]:
    """Return the status and reason of a service's node."""
    if task.state == "running":
        return (NodeStatus.READY, "") if heartbeat and heartbeat.online else (NodeStatus.STARTING, "")
    if task.state in _PENDING:
        return NodeStatus.PENDING, task.error or "The swarm is looking for a host."
    if task.state == "preparing":
        return NodeStatus.PULLING, "Its host is pulling the image."
    if task.state in _ENDED:
        ended = how_it_ended(task.exit_code, oom_killed=False) if task.exit_code else "exited"
        return NodeStatus.FAILED, task.error or f"{ended}; the swarm starts a replacement."
    return NodeStatus.STARTING, ""


def _new_node(group: NodeGroup, slot: int) -> Node:
    node, _ = Node.objects.update_or_create(
        id=slot_id(group.pk, slot),
        defaults={
            "group": group,
            "name": f"{group.name}.{slot}",
            "slot": slot,
            "observed_generation": 1,
            "status": NodeStatus.PENDING,
        },
    )
    return node


def _named_secrets(group: NodeGroup) -> list[tuple[str, str, str]]:
    """Return a group's secrets as triples: the name in the swarm (derived from the content), the file name, and the content."""
    key = settings.SECRET_KEY
    return [
        (f"zenith-{group.pk.hex[-12:]}-{_digest(f'{key}:{name}:{content}')[:24]}", name, content)
        for name, content in sorted(secret_files(group).items())
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _literal(value: str) -> str:
    """Return a value escaped for Docker's templates."""
    return value.replace("{{", '{{"{{"}}')
