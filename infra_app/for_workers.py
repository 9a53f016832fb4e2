"""The nodes that workers run on, for the pages of tasks and workers (tasks_app/worker_nodes.py)."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from infra_app.models import Node, NodeEvent
from infra_app.states import DIED, OUT_OF_MEMORY
from tasks_app.worker_nodes import NodeSeen
from zenith_site.common.masking import mask_text

_DEATHS: Final = (DIED, OUT_OF_MEMORY)


def of_workers(names: Iterable[str]) -> dict[str, NodeSeen]:
    """Return the nodes of these workers by worker name; two queries if any worker may belong to a node."""
    by_id = {id_: name for name in names if (id_ := _node_id(name))}
    if not by_id:
        return {}
    nodes = list(Node.objects.filter(id__in=by_id).select_related("host"))
    deaths = _deaths(nodes)
    return {by_id[node.id]: _seen(node, deaths.get(node.id)) for node in nodes}


def _node_id(worker: str) -> UUID | None:
    """Return the node's id from a worker's name; None if it carries none."""
    try:
        return UUID(worker.rpartition("@")[2])
    except ValueError:
        return None


def _deaths(nodes: Iterable[Node]) -> dict[UUID, NodeEvent]:
    """Return the newest event of each node that reports a container which exited on its own."""
    ends = NodeEvent.objects.filter(node__in=nodes, kind__in=_DEATHS).order_by("node_id", "-id").distinct("node_id")
    return {event.node_id: event for event in ends}


def _seen(node: Node, end: NodeEvent | None) -> NodeSeen:
    status = node.shown_status
    return NodeSeen(
        id=node.id, name=node.name, host=node.host.name if node.host else "", status=status.value,
        sentence=node.reason or status.sentence, death=end.message if end else "", died_at=end.at if end else None,
        log_tail=mask_text(node.log_tail),
    )  # fmt: skip
