"""Decide which nodes to reconcile when: each in a thread of its own, never in two threads at the same time.

A node is reconciled after an order, after a change of its container or its worker's heartbeat, at the time its last
reconciliation asked for, and together with all others twice a minute, in case a hint was lost.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import redis
from django.db import DatabaseError
from django.db.models import F, QuerySet
from django.utils import timezone

from infra_app.agent.heartbeats import HeartbeatCache
from infra_app.agent.names import container_name, owner
from infra_app.agent.node_reconciler import GRACE, NodeReconciler
from infra_app.errors import EngineError
from infra_app.gateway import Engine, OwnedContainer
from infra_app.models import Node
from infra_app.models.group import GroupKind
from infra_app.states import NodeStatus
from zenith_site.common.loops import repeat, with_fresh_connection

logger = logging.getLogger(__name__)

#: Seconds between two checks of what is due, of orders, of all heartbeats, and of everything.
TICK: Final = 0.25
ORDERS_EVERY: Final = 0.5
HEARTBEATS_EVERY: Final = 4.0
EVERYTHING_EVERY: Final = 30.0
#: Seconds until a node is retried after its engine, database or broker was unreachable, and after an unexpected error.
RETRY_UNREACHABLE: Final = 2.0
RETRY_UNEXPECTED: Final = 15.0
THREADS: Final = 8


class Interval:
    """Tells when a period has passed since it was last due."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def due(self) -> bool:
        """Whether the period has passed; true on the first call. Starts the next period if so."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def make_due(self) -> None:
        """Make it due now."""
        self._next = float("-inf")


class ReconcileLoop:
    """Reconciles the nodes of one host until stopped.

    Arguments:
        key: labels what this host's agent created.
    """

    def __init__(self, engine: Engine, host_id: int, key: UUID, reconciler: NodeReconciler, heartbeats: HeartbeatCache) -> None:
        self._engine = engine
        self._host_id = host_id
        self._key = key
        self._reconciler = reconciler
        self._heartbeats = heartbeats
        self._lock = threading.Lock()
        self._due: dict[UUID, float] = {}
        self._busy: set[UUID] = set()
        self._orders_due = Interval(ORDERS_EVERY)
        self._heartbeats_due = Interval(HEARTBEATS_EVERY)
        self._everything_due = Interval(EVERYTHING_EVERY)

    def run(self, stop: threading.Event) -> None:
        """Run until stopped; reconciliations in progress finish first."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="node") as pool:
            self._submit = pool.submit
            repeat(stop, "agent loop", self._tick, every=TICK)

    def touch(self, node_id: UUID) -> None:
        """Reconcile a node soon; may be called from any thread."""
        self._schedule(node_id, 0.0)

    def touch_all(self) -> None:
        """Reconcile every node soon; may be called from any thread."""
        self._everything_due.make_due()

    def _tick(self) -> None:
        if self._orders_due.due():
            for node_id in self._rows().filter(generation__gt=F("observed_generation")).values_list("pk", flat=True):
                self.touch(node_id)
        if self._everything_due.due():
            self._check_containers()
        if self._heartbeats_due.due():
            self._check_heartbeats()
        for node_id in self._take_due():
            self._submit(self._reconcile, node_id)

    def _rows(self) -> "QuerySet[Node]":
        nodes = Node.objects.filter(host_id=self._host_id, group__kind=GroupKind.CONTAINERS)
        return nodes.exclude(status=NodeStatus.REMOVED).order_by()

    def _check_containers(self) -> None:
        try:
            # Read before the rows: every listed container already has its row.
            containers = {container.name: container for container in self._engine.owned(owner(self._key))}
        except EngineError:
            # The probe reports it on the host's row.
            return
        expected_names = set()
        for node_id, status, container_id in self._rows().values_list("pk", "status", "container_id"):
            name = container_name(node_id)
            expected_names.add(name)
            if not _agrees(status, container_id, containers.get(name)):
                self.touch(node_id)
        self._remove_orphans(container for name, container in containers.items() if name not in expected_names)

    def _check_heartbeats(self) -> None:
        ready = list(self._rows().filter(status=NodeStatus.READY).values_list("pk", "name"))
        heartbeats = self._heartbeats.all() if ready else {}
        for node_id, name in ready:
            heartbeat = heartbeats.get(f"{name}@{node_id}")
            if heartbeat is None or not heartbeat.online:
                self.touch(node_id)

    def _remove_orphans(self, orphans: Iterable[OwnedContainer]) -> None:
        """Remove containers that an agent of this host created for nodes that no longer exist."""
        for container in orphans:
            logger.warning("Removing container %s: its node no longer exists.", container.name)
            self._submit(self._remove, container.id)

    def _remove(self, container_id: str) -> None:
        try:
            self._engine.stop(container_id, GRACE)
            self._engine.remove(container_id)
        except EngineError as error:
            logger.warning("Container %s could not be removed: %s", container_id[:12], error)

    def _schedule(self, node_id: UUID, delay: float) -> None:
        at = time.monotonic() + delay
        with self._lock:
            self._due[node_id] = min(at, self._due.get(node_id, at))

    def _take_due(self) -> list[UUID]:
        now = time.monotonic()
        with self._lock:
            due_nodes = [node_id for node_id, at in self._due.items() if at <= now and node_id not in self._busy]
            for node_id in due_nodes:
                del self._due[node_id]
            self._busy.update(due_nodes)
        return due_nodes

    def _reconcile(self, node_id: UUID) -> None:
        delay = _guarded(lambda: self._reconcile_node(node_id))
        with self._lock:
            self._busy.discard(node_id)
        if delay is not None:
            self._schedule(node_id, delay)

    def _reconcile_node(self, node_id: UUID) -> float | None:
        with with_fresh_connection():
            requeue_at = self._reconciler.reconcile(node_id)
        return None if requeue_at is None else max(0.0, (requeue_at - timezone.now()).total_seconds())


def _agrees(status: str, container_id: str, container: OwnedContainer | None) -> bool:
    """Whether a node's row agrees with its container, as far as the list of containers shows."""
    if status == NodeStatus.READY:
        return container is not None and container.status == "running" and container.id == container_id
    return status == NodeStatus.STOPPED and (container is None or not container.running)


def _guarded(reconcile: Callable[[], float | None]) -> float | None:
    """Return the seconds until the next reconciliation, whatever this one raises: one node must not take down the others."""
    try:
        return reconcile()
    except (EngineError, redis.RedisError, DatabaseError) as error:
        logger.info("A node cannot be reconciled now: %s", error)
        return RETRY_UNREACHABLE
    except Exception:
        logger.exception("A node could not be reconciled")
        return RETRY_UNEXPECTED
