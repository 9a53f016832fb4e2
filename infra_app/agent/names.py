"""Names and labels of what the agent creates on an engine, so that it finds it again and touches nothing else. Pure."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

#: The owner: the key of a host's row, so that two Zeniths, or two test runs, may share an engine.
HOST_LABEL: Final = "io.zenith.host"
NODE_LABEL: Final = "io.zenith.node"
GROUP_LABEL: Final = "io.zenith.group"
REVISION_LABEL: Final = "io.zenith.revision"
#: On a Swarm service: its owner, and a digest of its specification.
SERVICE_LABEL: Final = "io.zenith.service"
SPEC_LABEL: Final = "io.zenith.spec"
_SLOT_DIGITS: Final = 12


def container_name(node: UUID) -> str:
    """Return the name of a node's container. The engine refuses a second container of the same name."""
    return f"zenith-{node}"


def owner(key: UUID) -> str:
    """Return the label of everything that a host's agent created, in the form that the engine filters by."""
    return f"{HOST_LABEL}={key}"


def node_of(labels: Mapping[str, str], key: UUID) -> UUID | None:
    """Return the node of a container that this host's agent created, from its labels; None for any other container."""
    if labels.get(HOST_LABEL) != str(key):
        return None
    try:
        return UUID(labels.get(NODE_LABEL, ""))
    except ValueError:
        return None


def service_name(group: UUID) -> str:
    """Return the name of a group's Swarm service."""
    return f"zenith-{group}"


def slot_id(group: UUID, slot: int) -> UUID:
    """Return the id of a service's node: the group's id with the slot in place of its last twelve digits."""
    return UUID(f"{str(group)[:-_SLOT_DIGITS]}{slot:0{_SLOT_DIGITS}d}")


def slot_template(group: UUID) -> str:
    """Return a Docker template that expands to `slot_id` in each of a service's containers."""
    zeros = "0" * _SLOT_DIGITS
    return f'{str(group)[:-_SLOT_DIGITS]}{{{{slice (print "{zeros}" .Task.Slot) (len .Task.Slot)}}}}'


def service_node(labels: Mapping[str, str]) -> UUID | None:
    """Return the node of a service's container, on any host; None for any other container."""
    # The name is SERVICE.SLOT.TASK.
    slot = labels.get("com.docker.swarm.task.name", "").rpartition(".")[0].rpartition(".")[2]
    try:
        return slot_id(UUID(labels.get(GROUP_LABEL, "")), int(slot)) if SERVICE_LABEL in labels else None
    except ValueError:
        return None
