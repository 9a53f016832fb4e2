"""Taking a node's steps: asks `plan` what is next, has the engine do it, writes down what came of it, and asks again.

Each step can be repeated: an agent that dies between any two of them is followed by one that finds the container by its
name and goes on. The engine's own rule that names are unique keeps two agents from making two containers.
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
from infra_app.agent.beats import Beats
from infra_app.agent.container_spec import NotReachableError, container_spec
from infra_app.agent.names import HOST_LABEL, container_name
from infra_app.agent.plan import NextStep, Step, delay_after, falls_after, how_it_ended, is_fresh, plan
from infra_app.errors import EngineRefusedError, EngineUnreachableError, NameTakenError
from infra_app.gateway import ContainerState, Engine
from infra_app.masked_environment import left_out
from infra_app.models import Node
from infra_app.states import Desired, NodeStatus
from infra_app.work import Beat
from zenith_site.common.errors import ZenithError
from zenith_site.common.masking import mask_text

logger = logging.getLogger(__name__)

#: Seconds that a container has to end by itself: its worker hands back what it cannot finish in five.
GRACE: Final = 15
#: Seconds until a worker that still takes tasks is told once more to drain; it beats every two.
TELL_AGAIN: Final = 6.0
#: Lines kept of a container that ended.
TAIL: Final = 200
#: Steps in a row after which a node is left for the next look: nothing takes so many.
_MOST_STEPS: Final = 12


class NodeReconciler:
    """Takes the steps of the nodes of one host.

    Arguments:
        key: marks what this host's agent made.
        reached: called with the name of each thing done, for tests that kill the agent there.
    """

    def __init__(self, engine: Engine, host_id: int, key: UUID, beats: Beats, reached: Callable[[str], None]) -> None:
        self._engine = engine
        self._host_id = host_id
        self._key = key
        self._beats = beats
        self._reached = reached
        self._told: dict[UUID, float] = {}

    def reconcile(self, node_id: UUID) -> datetime | None:
        """Take a node as far as it can be taken now; return when to look again, None for when something happens.

        Raises EngineUnreachableError, redis.RedisError or django.db.Error: nothing is known then, and nothing is written.
        """
        for _ in range(_MOST_STEPS):
            node = self._read(node_id)
            if node is None:
                return None
            try:
                box = self._find(node)
                move = plan(node, box, self._beat(node, box), timezone.now())
                if move.do is Step.SETTLE:
                    return self._settled(node, box, move)
                if move.do is Step.TELL_DRAIN:
                    return self._tell_drain(node)
                self._take(move.do, node, box)
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
        box = self._engine.find(container_name(node.id))
        if box is None or box.labels.get(HOST_LABEL) == str(self._key):
            return box
        if node.desired == Desired.RUNNING:
            raise EngineRefusedError(
                f"There is a container {box.name} on the host that this agent did not make; it is left alone."
            )
        return None

    def _beat(self, node: Node, box: ContainerState | None) -> Beat | None:
        """Return the worker's heartbeat where it matters: the rest goes on while Redis is away."""
        if box is None or not box.running or node.desired not in {Desired.RUNNING, Desired.DRAINED}:
            return None
        return self._beats.of(node.worker)

    def _settled(self, node: Node, box: ContainerState | None, move: NextStep) -> datetime | None:
        assert move.status is not None  # noqa: S101 (for the type checker: SETTLE always has one)
        if box is not None:
            # An agent that died right after a step may not have written it.
            record.observe(node, container_id=box.id, image_id=box.image_id, started_at=box.started_at)
        record.set_status(node, move.status, move.reason)
        return move.again

    def _take(self, do: Step, node: Node, box: ContainerState | None) -> None:
        if box is None:
            self._create(node)
        elif do is Step.START:
            self._start(node, box)
        elif do is Step.REPLACE:
            self._image(node)
            self._stop(node, box)
        elif do is Step.STOP:
            self._stop(node, box)
        elif do is Step.REMOVE:
            self._remove(node, box)
        elif do is Step.NOTE_END:
            self._note_end(node, box)

    def _create(self, node: Node) -> None:
        spec = container_spec(node, self._key)
        image = self._image(node)
        record.observe(node, status=NodeStatus.STARTING, reason="", image_id=image)
        self._reached("image")
        try:
            container = self._engine.create(spec)
        except NameTakenError:
            # Made by an agent that died before it could say so, or still going away: the next look tells.
            if self._engine.find(spec.name) is None:
                raise
            return
        self._reached("created")
        left = [("left out", f"{reason}.") for reason in left_out(node.group)]
        record.observe(
            node, ("created", f"Container {container[:12]} of {spec.image}."), *left,
            container_id=container, observed_revision=node.revision, exit_code=None, oom_killed=False, finished_at=None,
            started_at=None,
        )  # fmt: skip

    def _image(self, node: Node) -> str:
        """Return the id of a node's image, fetched where it is not there."""
        return self._engine.image_id(node.group.image) or self._pull(node, node.group.image)

    def _pull(self, node: Node, image: str) -> str:
        record.observe(node, ("pulling", f"Image {image}."), status=NodeStatus.PULLING, reason=f"Fetching {image}.")
        self._reached("pulling")
        try:
            self._engine.pull(image)
        except EngineRefusedError as error:
            raise EngineRefusedError(
                f"Image {image} is not on this host and could not be fetched: {error} "
                f"Where it is built from this project, `docker build -t {image} .` in the clone makes it."
            ) from error
        found = self._engine.image_id(image)
        if found is None:
            raise EngineRefusedError(f"Image {image} was fetched and is not there.")
        return found

    def _start(self, node: Node, box: ContainerState) -> None:
        spec = container_spec(node, self._key)
        self._engine.hand_over(box.id, sorted(spec.files.items()))
        self._reached("handed over")
        again = box.status == "exited" and not is_fresh(node) and node.finished_at is not None
        try:
            self._engine.start(box.id)
        except EngineRefusedError:
            self._give_up(node, box, again=again)
            raise
        self._reached("started")
        now = self._engine.find(box.id)
        record.observe(
            node, ("restarted" if again else "started", ""), status=NodeStatus.STARTING, container_id=box.id,
            image_id=box.image_id, observed_revision=node.revision, started_at=now.started_at if now else None,
            restarts=node.restarts + again, falls=node.falls if again else 0, retry_at=None, observed_generation=node.generation,
        )  # fmt: skip
        self._reached("recorded")

    def _give_up(self, node: Node, box: ContainerState, *, again: bool) -> None:
        """Remove a container that the engine refuses to start for the second time: the next try makes a new one.

        An engine that is stopped in the middle of a start keeps what it had begun under the container's id, and refuses
        that one ("already exists") as long as it lives.
        """
        if node.status == NodeStatus.FAILED and not is_fresh(node):
            self._remove(node, box)
            record.observe(
                node, ("given up", f"Container {box.id[:12]}: the engine does not start it."), restarts=node.restarts + again
            )

    def _stop(self, node: Node, box: ContainerState) -> None:
        record.observe(node, ("stopping", f"It has {GRACE} s to end by itself."), observed_generation=node.generation)
        self._engine.stop(box.id, GRACE)
        self._reached("stopped")
        ended = self._engine.find(box.id)
        if ended is not None and not ended.running:
            record.observe(node, **self._end(ended), falls=0, retry_at=None)

    def _remove(self, node: Node, box: ContainerState) -> None:
        if box.status != "created" and not node.log_tail:
            record.observe(node, log_tail=self._tail(box))
        self._engine.remove(box.id)
        self._reached("removed")

    def _note_end(self, node: Node, box: ContainerState) -> None:
        falls = falls_after(node, box)
        ended = how_it_ended(box.exit_code, oom_killed=box.oom_killed)
        wait = delay_after(falls)
        times = f" {falls} times in a row" if falls > 1 else ""
        again = f"; tried again in {wait:.0f} s." if wait else "; started again."
        record.observe(
            node, ("out-of-memory" if ended.startswith("out of memory") else "died", f"{ended}{box.error and f': {box.error}'}"),
            **self._end(box), status=NodeStatus.STARTING, reason=f"{ended}{times}{again}",
            falls=falls, retry_at=timezone.now() + timedelta(seconds=wait),
        )  # fmt: skip
        self._reached("end noted")

    def _end(self, box: ContainerState) -> dict[str, object]:
        return {
            "finished_at": box.finished_at, "exit_code": box.exit_code, "oom_killed": box.oom_killed and box.exit_code == 137,
            "log_tail": self._tail(box), "cpu_percent": None, "memory_bytes": None,
        }  # fmt: skip

    def _tail(self, box: ContainerState) -> str:
        return mask_text("\n".join(f"{line.at} {line.text}" for line in self._engine.tail(box.id, TAIL)))

    def _tell_drain(self, node: Node) -> datetime:
        """Tell a worker to take nothing more, and again where its heartbeats do not say so after a while."""
        if node.status != NodeStatus.DRAINING or is_fresh(node):
            record.observe(
                node,
                ("draining", ""),
                status=NodeStatus.DRAINING,
                reason="It takes nothing more.",
                observed_generation=node.generation,
            )
        if time.monotonic() - self._told.get(node.id, float("-inf")) > TELL_AGAIN:
            self._told[node.id] = time.monotonic()
            try:
                work.drain(node.worker)
            except ZenithError as error:
                logger.warning("%s could not be told to drain: %s", node.name, error)
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
