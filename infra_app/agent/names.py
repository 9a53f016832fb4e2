"""How what the agent makes on an engine is named and marked, so that it finds it again and touches nothing else. Pure."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

#: Says whose it is: the key of a host's row, so that two Zeniths, or two test runs, may share an engine.
HOST_LABEL: Final = "io.zenith.host"
NODE_LABEL: Final = "io.zenith.node"
GROUP_LABEL: Final = "io.zenith.group"
REVISION_LABEL: Final = "io.zenith.revision"


def container_name(node: UUID) -> str:
    """Return the name of a node's container: the engine lets nobody make a second one of it."""
    return f"zenith-{node}"


def owner(key: UUID) -> str:
    """Return the label that everything of a host's agent carries, as the engine filters by it."""
    return f"{HOST_LABEL}={key}"


def labelled_node(labels: Mapping[str, str] | None) -> UUID | None:
    """Return the node that labels name; None where they name none."""
    try:
        return UUID((labels or {}).get(NODE_LABEL, ""))
    except ValueError:
        return None
