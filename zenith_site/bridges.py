"""What each app knows of the other: the protocols of infra_app/ports.py and tasks_app/ports.py, filled in at start."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from infra_app import ports as infra_ports
from infra_app.models import Node, NodeEvent
from infra_app.ports import Beat, QueuePressure, WorkSeen
from infra_app.states import DIED, OUT_OF_MEMORY
from tasks_app import ports as tasks_ports
from tasks_app.control import workers as control
from tasks_app.errors import WorkerSilentError, WorkerUnknownError
from tasks_app.ports import NodeSeen
from tasks_app.queries import queues, workers
from zenith_site.common.errors import StateConflictError
from zenith_site.common.masking import mask_text
from zenith_worker.wire import heartbeat

_MINUTE: Final = 60.0
_DEATHS: Final = (DIED, OUT_OF_MEMORY)


class TasksForNodes:
    """Tasks, workers and queues for nodes."""

    def beats(self) -> dict[str, Beat]:
        """Return the newest heartbeat of every worker heard of lately, by name."""
        return {
            beat.name: Beat(
                name=beat.name, online=beat.online, queues=beat.queues, slots=beat.slots, busy=beat.busy, held=len(beat.held),
                started_at=beat.started_at,
            )
            for beat in heartbeat.read_all()
        }  # fmt: skip

    def tasks_of(self, worker: str, limit: int) -> list[WorkSeen]:
        """Return the newest tasks of a worker, those that run first."""
        return [
            WorkSeen(task.id, task.name, task.queue, task.status, task.started_at, task.finished_at)
            for task in workers.tasks_of(worker, limit)
        ]

    def pressure(self, queue: str) -> QueuePressure:
        """Return how a queue stands."""
        view = queues.view(queue)
        return QueuePressure(
            name=queue, waiting=view.now.depth + view.held, oldest_seconds=view.now.oldest_seconds,
            rate_in=None if view.rate_in is None else view.rate_in / _MINUTE, rate_out=view.rate_out / _MINUTE,
            consumers=tuple(view.consumers), paused=view.pause is not None,
        )  # fmt: skip

    def drain(self, worker: str) -> None:
        """Tell a worker to take nothing more. Raises StateConflictError where it cannot be told."""
        try:
            control.drain(worker)
        except (WorkerUnknownError, WorkerSilentError) as error:
            raise StateConflictError(str(error)) from error


class NodesForTasks:
    """Nodes for tasks and workers."""

    def of_workers(self, names: Iterable[str]) -> dict[str, NodeSeen]:
        """Return the nodes of these workers by the worker's name; two queries where any may be a node's."""
        by_id = {id_: name for name in names if (id_ := _node_id(name))}
        if not by_id:
            return {}
        nodes = list(Node.objects.filter(id__in=by_id).select_related("host"))
        deaths = _deaths(nodes)
        return {by_id[node.id]: _seen(node, deaths.get(node.id)) for node in nodes}


def connect() -> None:
    """Fill in the protocols."""
    infra_ports.fill(TasksForNodes())
    tasks_ports.fill(NodesForTasks())


def _node_id(worker: str) -> UUID | None:
    """Return the id that the name of a node's worker carries."""
    try:
        return UUID(worker.rpartition("@")[2])
    except ValueError:
        return None


def _deaths(nodes: Iterable[Node]) -> dict[UUID, NodeEvent]:
    """Return the newest event of each node that tells of a container which ended by itself."""
    ends = NodeEvent.objects.filter(node__in=nodes, kind__in=_DEATHS).order_by("node_id", "-id").distinct("node_id")
    return {event.node_id: event for event in ends}


def _seen(node: Node, end: NodeEvent | None) -> NodeSeen:
    status = node.shown_status
    return NodeSeen(
        id=node.id, name=node.name, host=node.host.name if node.host else "", status=status.value,
        sentence=node.reason or status.sentence, death=end.message if end else "", died_at=end.at if end else None,
        log_tail=mask_text(node.log_tail),
    )  # fmt: skip
