"""Read an engine's inventory, as the records of infra_app/types.py."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import docker

from infra_app.gateway.connection import Connection
from infra_app.gateway.values import moment
from infra_app.types import ContainerSeen, ImageSeen, NetworkSeen, VolumeSeen

#: Timeout for an engine to compute its disk usage, in seconds.
SIZES_TIMEOUT: Final = 120
_UNTAGGED: Final = "<none>:<none>"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes in bytes of containers and volumes, and the part of each image that is shared with others."""

    containers: Mapping[str, int] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inventory:
    """All containers, images, volumes and networks of an engine."""

    containers: list[ContainerSeen]
    images: list[ImageSeen]
    volumes: list[VolumeSeen]
    networks: list[NetworkSeen]


def sizes(connection: Connection) -> Sizes:
    """Return sizes from the engine's disk usage, which is slow on large hosts. Raises EngineError."""
    with connection.client() as client:
        used = client._result(client._get(client._url("/system/df"), timeout=SIZES_TIMEOUT), True)
    return Sizes(
        containers={row["Id"]: int(row.get("SizeRw") or 0) for row in used.get("Containers") or []},
        shared={row["Id"]: int(row["SharedSize"]) for row in used.get("Images") or [] if row.get("SharedSize", -1) >= 0},
        volumes={row["Name"]: size for row in used.get("Volumes") or [] if (size := _usage(row)) >= 0},
    )


def inventory(
    connection: Connection, sizes_before: Sizes, started: dict[str, str], node_of: Callable[[Mapping[str, str]], str | None]
) -> Inventory:
    """Return the engine's inventory with sizes that were read before. Raises EngineError.

    Arguments:
        started: start times of containers by id; missing ones are read and added.
        node_of: returns the node that a container's labels name.
    """
    with connection.client() as client:
        rows: list[dict[str, Any]] = client.containers(all=True)
        images: list[dict[str, Any]] = client.images()
        volumes: list[dict[str, Any]] = client.volumes().get("Volumes") or []
        networks: list[dict[str, Any]] = client.networks()
        for row in rows:
            if row["State"] == "running" and row["Id"] not in started:
                # The container may have been removed meanwhile.
                with suppress(docker.errors.NotFound):
                    started[row["Id"]] = client.inspect_container(row["Id"])["State"]["StartedAt"]
    containers = [_container(row, started.get(row["Id"]), sizes_before, node_of) for row in rows]
    users = Counter(row["ImageID"] for row in rows)
    return Inventory(
        containers=containers,
        images=[_image(row, sizes_before, users) for row in images],
        volumes=[_volume(row, sizes_before, containers) for row in volumes],
        networks=[_network(row, containers) for row in networks],
    )


def _container(
    row: Mapping[str, Any], started: str | None, sizes_before: Sizes, node_of: Callable[[Mapping[str, str]], str | None]
) -> ContainerSeen:
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    since = moment(started) if row["State"] == "running" else None
    return {
        "id": row["Id"],
        "name": (row.get("Names") or [row["Id"][:12]])[0].lstrip("/"),
        "image": row["Image"],
        "image_id": row["ImageID"],
        "status": row["State"],
        "created_at": _iso(row["Created"]),
        "started_at": since.isoformat() if since else None,
        "size": sizes_before.containers.get(row["Id"]),
        "networks": [
            {
                "name": name,
                "ip": endpoint.get("IPAddress") or None,
                "mac": endpoint.get("MacAddress") or None,
                "aliases": endpoint.get("Aliases") or [],
            }
            for name, endpoint in sorted(networks.items())
        ],
        "ports": sorted((_port(port) for port in row.get("Ports") or []), key=repr),
        "volumes": sorted(
            mount["Name"] for mount in row.get("Mounts") or [] if mount.get("Type") == "volume" and mount.get("Name")
        ),
        "node_id": node_of(row.get("Labels") or {}),
    }


def _port(port: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "container": port["PrivatePort"], "protocol": port.get("Type", "tcp"),
        "host_ip": port.get("IP"), "host": port.get("PublicPort"),
    }  # fmt: skip


def _image(row: Mapping[str, Any], sizes_before: Sizes, users: Mapping[str, int]) -> ImageSeen:
    tags = [tag for tag in row.get("RepoTags") or [] if tag != _UNTAGGED]
    return {
        "id": row["Id"], "tags": tags, "size": int(row.get("Size") or 0), "shared_size": sizes_before.shared.get(row["Id"]),
        "created_at": _iso(row["Created"]), "containers": users.get(row["Id"], 0), "dangling": not tags,
    }  # fmt: skip


def _volume(row: Mapping[str, Any], sizes_before: Sizes, containers: Sequence[ContainerSeen]) -> VolumeSeen:
    used_by = sorted(endpoint["name"] for endpoint in containers if row["Name"] in endpoint["volumes"])
    return {
        "name": row["Name"], "driver": row["Driver"], "size": sizes_before.volumes.get(row["Name"]), "used_by": used_by,
        "dangling": not used_by,
    }  # fmt: skip


def _network(row: Mapping[str, Any], containers: Sequence[ContainerSeen]) -> NetworkSeen:
    pools = (row.get("IPAM") or {}).get("Config") or []
    return {
        "id": row["Id"],
        "name": row["Name"],
        "driver": row["Driver"],
        "scope": row["Scope"],
        "subnets": [pool["Subnet"] for pool in pools if pool.get("Subnet")],
        "gateway": next((pool["Gateway"] for pool in pools if pool.get("Gateway")), None),
        "internal": bool(row.get("Internal")),
        "members": [
            {"id": endpoint["id"], "name": endpoint["name"], "ip": network["ip"]}
            for endpoint in containers if endpoint["status"] == "running"
            for network in endpoint["networks"] if network["name"] == row["Name"]
        ],
    }  # fmt: skip


def _usage(row: Mapping[str, Any]) -> int:
    return int((row.get("UsageData") or {}).get("Size", -1))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat()
