"""Reconcile a node: ask `plan` for the next step, have the engine take it, record the result, and repeat.

Each step is idempotent: if an agent dies between two steps, its successor finds the container by name and continues. Names are
unique on an engine, so two agents cannot create two containers for a node.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.utils import timezone

from infra_app import work
from infra_app.agent import record
from infra_app.agent.container_spec import NotReachableError, container_spec
from infra_app.agent.heartbeats import HeartbeatCache
from infra_app.agent.names import HOST_LABEL, container_name
from infra_app.agent.plan import NextStep, Step, delay_after, falls_after, how_it_ended, is_fresh, plan
from infra_app.errors import EngineRefusedError, EngineUnreachableError, NameTakenError
from infra_app.gateway import ContainerState, Engine
from infra_app.masked_environment import left_out
from infra_app.models import Node
from infra_app.states import DIED, OUT_OF_MEMORY, Desired, NodeStatus
from infra_app.work import WorkerHeartbeat
from zenith_site.common.errors import ZenithError
from zenith_site.common.masking import mask_text

logger = logging.getLogger(__name__)

#: Seconds that a container has to exit after SIGTERM; its worker returns what it cannot finish in five to the queue.
GRACE: Final = 15
#: Seconds until a worker that still accepts tasks is told again to drain; it sends a heartbeat every two.
DRAIN_AGAIN_AFTER: Final = 6.0
#: Log lines kept of a container that exited.
TAIL: Final = 200
#: Steps in a row after which a node is left for the next reconciliation; no node needs as many.
_MOST_STEPS: Final = 12


class NodeReconciler:
    """Reconciles the nodes of one host.

    Arguments:
        key: labels what this host's agent created.
        reached: called with the name of each step taken, for tests that kill the agent there.
    """

    def __init__(
        self, engine: Engine, host_id: int, key: UUID, heartbeats: HeartbeatCache, reached: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._host_id = host_id
        self._key = key
        self._heartbeats = heartbeats
        self._reached = reached
        self._drain_sent_at: dict[UUID, float] = {}

    def reconcile(self, node_id: UUID) -> datetime | None:
        """Take all steps that a node needs now; return when to reconcile it again, None to wait for the next change.

        Raises EngineUnreachableError, redis.RedisError or django.db.Error; the state is unknown then and nothing is written.
        """
        for _ in range(_MOST_STEPS):
            node = self._read(node_id)
            if node is None:
                return None
            try:
                container = self._find(node)
                next_step = plan(node, container, self._heartbeat(node, container), timezone.now())
                if next_step.step is Step.SETTLE:
                    return self._settled(node, container, next_step)
                if next_step.step is Step.TELL_DRAIN:
                    return self._tell_drain(node)
                self._take(next_step.step, node, container)
            except (EngineRefusedError, NotReachableError) as error:
                return self._failed(node, error)
        return timezone.now() + timedelta(seconds=1)

    def _read(self, node_id: UUID) -> Node | None:
        return (
            Node.objects.select_related("group")
            .filter(pk=node_id, host_id=self._host_id)
            .exclude(status=NodeStatus.REMOVED)
            .first()
        )

    def _find(self, node: Node) -> ContainerState | None:
        container = self._engine.find(container_name(node.id))
        if container is None or container.labels.get(HOST_LABEL) == str(self._key):
            return container
        if node.desired == Desired.RUNNING:
            raise EngineRefusedError(
                f"The host already has a container named {container.name} that this agent did not create. Remove or rename it."
            )
        return None

    def _heartbeat(self, node: Node, container: ContainerState | None) -> WorkerHeartbeat | None:
        """Return the worker's heartbeat if the next step depends on it: all other steps work while Redis is unreachable."""
        if container is None or not container.running or node.desired not in {Desired.RUNNING, Desired.DRAINED}:
            return None
        return self._heartbeats.of(node.worker)

    def _settled(self, node: Node, container: ContainerState | None, next_step: NextStep) -> datetime | None:
        assert next_step.status is not None  # noqa: S101 (for the type checker: SETTLE always has one)
        if container is not None:
            # An agent that died right after a step may not have recorded it.
            record.observe(node, container_id=container.id, image_id=container.image_id, started_at=container.started_at)
        record.set_status(node, next_step.status, next_step.reason)
        return next_step.requeue_at

    def _take(self, step: Step, node: Node, container: ContainerState | None) -> None:
        if container is None:
            self._create(node)
        elif step is Step.START:
            self._start(node, container)
        elif step is Step.REPLACE:
            self._image(node)
            self._stop(node, container)
        elif step is Step.STOP:
            self._stop(node, container)
        elif step is Step.REMOVE:
            self._remove(node, container)
        elif step is Step.NOTE_END:
            self._note_end(node, container)

    def _create(self, node: Node) -> None:
        spec = container_spec(node, self._key)
        image = self._image(node)
        record.observe(node, status=NodeStatus.STARTING, reason="", image_id=image)
        self._reached("image")
        try:
            container_id = self._engine.create(spec)
        except NameTakenError:
            # Created by an agent that died before recording it, or still being removed: the next step finds out.
            if self._engine.find(spec.name) is None:
                raise
            return
        self._reached("created")
        left_out_events = [("left out", f"{reason}.") for reason in left_out(node.group)]
        record.observe(
            node, ("created", f"Container {container_id[:12]} from image {spec.image}."), *left_out_events,
            container_id=container_id, observed_revision=node.revision, exit_code=None, oom_killed=False, finished_at=None,
            started_at=None,
        )  # fmt: skip

    def _image(self, node: Node) -> str:
        """Return the id of a node's image; pull it if it is missing."""
        return self._engine.image_id(node.group.image) or self._pull(node, node.group.image)

    def _pull(self, node: Node, image: str) -> str:
        record.observe(node, ("pulling", f"Image {image}."), status=NodeStatus.PULLING, reason=f"Pulling {image}.")
        self._reached("pulling")
        try:
            self._engine.pull(image)
        except EngineRefusedError as error:
            raise EngineRefusedError(
                f"Image {image} is not on this host and could not be pulled: {error} "
                f"If it is built from this project, run `docker build -t {image} .` in the clone."
            ) from error
        image_id = self._engine.image_id(image)
        if image_id is None:
            raise EngineRefusedError(f"Image {image} was pulled, but the engine does not have it.")
        return image_id

    def _start(self, node: Node, container: ContainerState) -> None:
        spec = container_spec(node, self._key)
        self._engine.write_secrets(container.id, sorted(spec.files.items()))
        self._reached("handed over")
        restart = container.status == "exited" and not is_fresh(node) and node.finished_at is not None
        try:
            self._engine.start(container.id)
        except EngineRefusedError:
            self._give_up(node, container, restart=restart)
            raise
        self._reached("started")
        started = self._engine.find(container.id)
        record.observe(
            node, ("restarted" if restart else "started", ""), status=NodeStatus.STARTING, container_id=container.id,
            image_id=container.image_id, observed_revision=node.revision, started_at=started.started_at if started else None,
            restarts=node.restarts + restart, falls=node.falls if restart else 0, retry_at=None,
            observed_generation=node.generation,
        )  # fmt: skip
        self._reached("recorded")

    def _give_up(self, node: Node, container: ContainerState, *, restart: bool) -> None:
        """Remove a container that the engine has refused to start twice, so that the next attempt creates a new one.

        An engine that is stopped in the middle of a start keeps the half-started task under the container's id, and refuses
        to start that container again ("already exists").
        """
        if node.status == NodeStatus.FAILED and not is_fresh(node):
            self._remove(node, container)
            record.observe(
                node,
                ("given up", f"The engine refuses to start container {container.id[:12]}."),
                restarts=node.restarts + restart,
            )

    def _stop(self, node: Node, container: ContainerState) -> None:
        record.observe(node, ("stopping", f"The container has {GRACE} s to exit."), observed_generation=node.generation)
        self._engine.stop(container.id, GRACE)
        self._reached("stopped")
        ended = self._engine.find(container.id)
        if ended is not None and not ended.running:
            record.observe(node, **self._exit_fields(ended), falls=0, retry_at=None)

    def _remove(self, node: Node, container: ContainerState) -> None:
        if container.status != "created" and not node.log_tail:
            record.observe(node, log_tail=self._tail(container))
        self._engine.remove(container.id)
        self._reached("removed")

    def _note_end(self, node: Node, container: ContainerState) -> None:
        falls = falls_after(node, container)
        ended = how_it_ended(container.exit_code, oom_killed=container.oom_killed)
        wait = delay_after(falls)
        times = f", {falls} times in a row" if falls > 1 else ""
        outlook = f"; restarting in {wait:.0f} s." if wait else "; restarted."
        kind = OUT_OF_MEMORY if ended.startswith("out of memory") else DIED
        record.observe(
            node, (kind, f"{ended}{container.error and f': {container.error}'}"),
            **self._exit_fields(container), status=NodeStatus.STARTING, reason=f"{ended}{times}{outlook}",
            falls=falls, retry_at=timezone.now() + timedelta(seconds=wait),
        )  # fmt: skip
        self._reached("end noted")

    def _exit_fields(self, container: ContainerState) -> dict[str, object]:
        return {
            "finished_at": container.finished_at, "exit_code": container.exit_code,
            "oom_killed": container.oom_killed and container.exit_code == 137,
            "log_tail": self._tail(container), "cpu_percent": None, "memory_bytes": None,
        }  # fmt: skip

    def _tail(self, container: ContainerState) -> str:
        return mask_text("\n".join(f"{line.at} {line.text}" for line in self._engine.tail(container.id, TAIL)))

    def _tell_drain(self, node: Node) -> datetime:
        """Tell a worker to drain, and again if its heartbeats do not show it after a while."""
        if node.status != NodeStatus.DRAINING or is_fresh(node):
            record.observe(
                node,
                ("draining", ""),
                status=NodeStatus.DRAINING,
                reason="Accepting no new tasks.",
                observed_generation=node.generation,
            )
        if time.monotonic() - self._drain_sent_at.get(node.id, float("-inf")) > DRAIN_AGAIN_AFTER:
            self._drain_sent_at[node.id] = time.monotonic()
            try:
                work.drain(node.worker)
            except ZenithError as error:
                logger.warning("The drain command did not reach %s: %s", node.name, error)
            self._reached("drain told")
        return timezone.now() + timedelta(seconds=0.5)

    def _failed(self, node: Node, error: Exception) -> datetime:
        falls = (0 if is_fresh(node) else node.falls) + 1
        retry_at = timezone.now() + timedelta(seconds=max(2.0, delay_after(falls)))
        if isinstance(error, EngineUnreachableError):
            raise error
        events = [("failed", str(error))] if node.status != NodeStatus.FAILED or is_fresh(node) else []
        record.observe(
            node, *events, status=NodeStatus.FAILED, reason=str(error), falls=falls, retry_at=retry_at,
            observed_generation=node.generation,
        )  # fmt: skip
        return retry_at
