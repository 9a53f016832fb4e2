"""Writing what was observed of nodes: the agent's half of the row, and events, in one transaction. Nothing else writes them."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from infra_app.models import Node, NodeEvent
from infra_app.states import NodeStatus
from zenith_site.common import live_updates

#: Longest message of an event, and longest reason, in characters: an engine's reason may be a page.
_LONGEST = 1000


def observe(node: Node, *events: tuple[str, str], **observed: Any) -> None:
    """Write what differs from the row, with its events; nothing where nothing differs. Pages are told.

    Arguments:
        events: each a kind and a message.
        observed: fields of the agent's half.
    """
    if "reason" in observed:
        observed["reason"] = observed["reason"][:_LONGEST]
    changed = {name: value for name, value in observed.items() if getattr(node, name) != value}
    if not changed and not events:
        return
    with transaction.atomic():
        # Never save(): the other half belongs to whoever changes what is desired, perhaps at this moment.
        Node.objects.filter(pk=node.pk).update(**changed, observed_at=timezone.now())
        NodeEvent.objects.bulk_create(NodeEvent(node_id=node.pk, kind=kind, message=text[:_LONGEST]) for kind, text in events)
    for name, value in changed.items():
        setattr(node, name, value)
    live_updates.refresh_pages("nodes")


def set_status(node: Node, status: NodeStatus, reason: str) -> None:
    """Write where a node is, and that what was asked of it is done as far as it can be."""
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


#: What an event is called where that is not the status itself.
_KINDS = {NodeStatus.STARTING: "silent"}
