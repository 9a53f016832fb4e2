"""The models of Docker hosts and worker nodes."""

from infra_app.models.event import NodeEvent
from infra_app.models.group import NodeGroup
from infra_app.models.host import Host, HostSnapshot
from infra_app.models.node import Node
from infra_app.models.sample import NodeSample

__all__ = ["Host", "HostSnapshot", "Node", "NodeEvent", "NodeGroup", "NodeSample"]
