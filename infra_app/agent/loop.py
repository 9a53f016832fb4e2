"""Which nodes to look at when: each in a thread of its own, none in two at once.

A node is looked at when something was asked of it, when its container or its worker's heartbeat changed, when its last look said
so, and with all others twice a minute, in case a hint was lost.
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

from infra_app.agent.beats import Beats
from infra_app.agent.names import container_name, owner
from infra_app.agent.node_reconciler import GRACE, NodeReconciler
from infra_app.errors import EngineError
from infra_app.gateway import Engine, OwnedContainer
from infra_app.models import Node
from infra_app.models.group import GroupKind
from infra_app.states import NodeStatus
from zenith_site.common.loops import repeat, with_fresh_connection

logger = logging.getLogger(__name__)

#: Seconds between two looks at what is due, for orders, at all heartbeats, and at everything.
TICK: Final = 0.25
ORDERS_EVERY: Final = 0.5
BEATS_EVERY: Final = 4.0
EVERYTHING_EVERY: Final = 30.0
#: Seconds until a node is tried again whose engine, database or broker was away, and one that met a bug.
AWAY: Final = 2.0
BUG: Final = 15.0
THREADS: Final = 8


class Every:
    """Says whether so many seconds have passed since it last said so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def due(self) -> bool:
        """Whether it is time again; true at first."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def at_once(self) -> None:
        """Make it due."""
        self._next = float("-inf")


class Loop:
    """Looks after the nodes of one host until it is stopped.

    Arguments:
        key: marks what this host's agent made.
    """

    def __init__(self, engine: Engine, host_id: int, key: UUID, hand: NodeReconciler, beats: Beats) -> None:
        self._engine = engine
        self._host_id = host_id
        self._key = key
        self._hand = hand
        self._beats = beats
        self._lock = threading.Lock()
        self._due: dict[UUID, float] = {}
        self._busy: set[UUID] = set()
        self._orders = Every(ORDERS_EVERY)
        self._heartbeats = Every(BEATS_EVERY)
        self._everything = Every(EVERYTHING_EVERY)

    def run(self, stop: threading.Event) -> None:
        """Run until stopped; what is under way is finished first."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="node") as pool:
            self._submit = pool.submit
            repeat(stop, "agent loop", self._tick, every=TICK)

    def touch(self, node_id: UUID) -> None:
        """Look at a node soon; from any thread."""
        self._schedule(node_id, 0.0)

    def touch_all(self) -> None:
        """Look at everything soon; from any thread."""
        self._everything.at_once()

    def _tick(self) -> None:
        if self._orders.due():
            for node_id in self._rows().filter(generation__gt=F("observed_generation")).values_list("pk", flat=True):
                self.touch(node_id)
        if self._everything.due():
            self._look_at_everything()
        if self._heartbeats.due():
            self._look_at_heartbeats()
        for node_id in self._take_due():
            self._submit(self._look, node_id)

    def _rows(self) -> "QuerySet[Node]":
        mine = Node.objects.filter(host_id=self._host_id, group__kind=GroupKind.CONTAINERS)
        return mine.exclude(status=NodeStatus.REMOVED).order_by()

    def _look_at_everything(self) -> None:
        try:
            # Before the rows: a container that is listed had its row before.
            boxes = {box.name: box for box in self._engine.owned(owner(self._key))}
        except EngineError:
            # The host's row says so.
            return
        expected = set()
        for node_id, status, container in self._rows().values_list("pk", "status", "container_id"):
            name = container_name(node_id)
            expected.add(name)
            if not _agrees(status, container, boxes.get(name)):
                self.touch(node_id)
        self._clear(box for name, box in boxes.items() if name not in expected)

    def _look_at_heartbeats(self) -> None:
        ready = list(self._rows().filter(status=NodeStatus.READY).values_list("pk", "name"))
        beats = self._beats.all() if ready else {}
        for node_id, name in ready:
            beat = beats.get(f"{name}@{node_id}")
            if beat is None or not beat.online:
                self.touch(node_id)

    def _clear(self, orphans: Iterable[OwnedContainer]) -> None:
        """Remove what an agent of this host made for nodes that are no more."""
        for box in orphans:
            logger.warning("Container %s belongs to no node any more and is removed.", box.name)
            self._submit(self._remove, box.id)

    def _remove(self, container: str) -> None:
        try:
            self._engine.stop(container, GRACE)
            self._engine.remove(container)
        except EngineError as error:
            logger.warning("Container %s could not be removed: %s", container[:12], error)

    def _schedule(self, node_id: UUID, delay: float) -> None:
        at = time.monotonic() + delay
        with self._lock:
            self._due[node_id] = min(at, self._due.get(node_id, at))

    def _take_due(self) -> list[UUID]:
        now = time.monotonic()
        with self._lock:
            found = [node_id for node_id, at in self._due.items() if at <= now and node_id not in self._busy]
            for node_id in found:
                del self._due[node_id]
            self._busy.update(found)
        return found

    def _look(self, node_id: UUID) -> None:
        delay = _guarded(lambda: self._settle(node_id))
        with self._lock:
            self._busy.discard(node_id)
        if delay is not None:
            self._schedule(node_id, delay)

    def _settle(self, node_id: UUID) -> float | None:
        with with_fresh_connection():
            again = self._hand.reconcile(node_id)
        return None if again is None else max(0.0, (again - timezone.now()).total_seconds())


def _agrees(status: str, container: str, box: OwnedContainer | None) -> bool:
    """Whether a node's row is what its container shows, as far as a list of containers tells."""
    if status == NodeStatus.READY:
        return box is not None and box.status == "running" and box.id == container
    return status == NodeStatus.STOPPED and (box is None or not box.running)


def _guarded(look: Callable[[], float | None]) -> float | None:
    """Return the seconds until the next look, whatever this one meets: one node must not take the others down."""
    try:
        return look()
    except (EngineError, redis.RedisError, DatabaseError) as error:
        logger.info("A node has to wait: %s", error)
        return AWAY
    except Exception:
        logger.exception("A node could not be looked at")
        return BUG
