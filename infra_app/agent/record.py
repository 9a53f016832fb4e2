"""Write what was observed of nodes: the agent's half of the row and its events, in one transaction. The only writer of both."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from infra_app.models import Node, NodeEvent
from infra_app.states import NodeStatus
from zenith_site.common import live_updates

#: Longest event message and reason, in characters: an engine's error may be a page long.
_LONGEST = 1000


def observe(node: Node, *events: tuple[str, str], **observed: Any) -> None:
    """Write observed fields that differ from the row, together with events, and refresh open pages.

    Arguments:
        events: pairs of kind and message.
        observed: fields of the agent's half of the row.
    """
    if "reason" in observed:
        observed["reason"] = observed["reason"][:_LONGEST]
    changed = {name: value for name, value in observed.items() if getattr(node, name) != value}
    if not changed and not events:
        return
    with transaction.atomic():
        # Never save(): the other half belongs to whoever changes the desired state, perhaps at this moment.
        Node.objects.filter(pk=node.pk).update(**changed, observed_at=timezone.now())
        NodeEvent.objects.bulk_create(NodeEvent(node_id=node.pk, kind=kind, message=text[:_LONGEST]) for kind, text in events)
    for name, value in changed.items():
        setattr(node, name, value)
    live_updates.refresh_pages("nodes")


def set_status(node: Node, status: NodeStatus, reason: str) -> None:
    """Write a node's status, and that its agent has acted on the latest order."""
    now = timezone.now()
    observed: dict[str, Any] = {"status": status, "reason": reason, "observed_generation": node.generation}
    events = []
    if status != node.status:
        events.append((_KINDS.get(status, status.lower()), reason))
        if status is NodeStatus.READY:
            observed["ready_at"] = now
    if status in {NodeStatus.STOPPED, NodeStatus.REMOVED}:
        observed |= {"falls": 0, "retry_at": None, "cpu_percent": None, "memory_bytes": None}
    if status is NodeStatus.REMOVED:
        observed |= {"container_id": "", "finished_at": node.finished_at or now}
    observe(node, *events, **observed)


#: Kinds of events that are not named after the status.
_KINDS = {NodeStatus.STARTING: "silent"}
