"""Docker hosts and nodes for tests, as agents would write them."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now

from infra_app.models import Host, HostSnapshot, Node
from infra_app.states import NodeStatus

GB = 1 << 30

#: A host's inventory, as records of infra_app/types.py.
CONTAINER: dict[str, Any] = {
    "id": "c1", "name": "reports", "image": "zenith:latest", "image_id": "sha256:i1", "status": "running",
    "created_at": "2026-01-01T00:00:00+00:00", "started_at": "2026-01-01T00:00:01+00:00", "size": 4096,
    "networks": [{"name": "zenith", "ip": "172.18.0.5", "mac": "", "aliases": []}],
    "ports": [{"container": 80, "protocol": "tcp", "host_ip": "127.0.0.1", "host": 8080}], "volumes": ["data"], "node_id": None,
}  # fmt: skip
IMAGE: dict[str, Any] = {
    "id": "sha256:i1", "tags": ["zenith:latest"], "size": 8, "shared_size": 1, "created_at": "2026-01-01T00:00:00+00:00",
    "containers": 1, "dangling": False,
}  # fmt: skip
VOLUME: dict[str, Any] = {"name": "data", "driver": "local", "size": 9, "used_by": ["reports"], "dangling": False}
NETWORK: dict[str, Any] = {
    "id": "n1", "name": "zenith", "driver": "bridge", "scope": "local", "subnets": ["172.18.0.0/16"], "gateway": "172.18.0.1",
    "internal": False, "members": [{"id": "c1", "name": "reports", "ip": "172.18.0.5"}],
}  # fmt: skip
HELD: dict[str, Any] = {
    "containers": [CONTAINER],
    "images": [{**IMAGE, "id": "sha256:" + "a" * 64, "tags": [], "size": 7, "containers": 0, "dangling": True}, IMAGE],
    "volumes": [VOLUME],
    "networks": [NETWORK],
}


def host(name: str = "zen-01", **values: Any) -> Host:
    """Create a host whose agent has just sent a heartbeat."""
    fields = {"address": "unix:///var/run/docker.sock", "cpus": 4, "memory_bytes": 8 * GB, "seen_at": Now(), **values}
    made, _ = Host.objects.update_or_create(name=name, defaults=fields)
    made.refresh_from_db()
    return made


def snapshot(of: Host, **held: Any) -> HostSnapshot:
    """Create a host's snapshot."""
    return HostSnapshot.objects.update_or_create(host=of, defaults={"taken_at": of.seen_at, **held})[0]


def observed(node: Node, status: NodeStatus = NodeStatus.READY, **values: Any) -> Node:
    """Return a node as if its agent had acted on its desired state."""
    node.refresh_from_db()
    fields = {"status": status, "observed_generation": node.generation, "observed_revision": node.revision, **values}
    Node.objects.filter(pk=node.pk).update(**fields)
    node.refresh_from_db()
    return node
