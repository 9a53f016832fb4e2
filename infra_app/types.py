"""The records of a host's snapshot, written by the agent and read by everyone else. Pure."""

from typing import Any, TypedDict


class ContainerSeen(TypedDict):
    """A container on a host, Zenith's or not."""

    id: str
    name: str
    image: str
    image_id: str
    status: str  # Docker's: created, running, paused, restarting, exited, dead
    created_at: str  # ISO 8601
    started_at: str | None
    size: int | None  # bytes of its writable layer
    networks: list[dict[str, Any]]  # {"name", "ip", "mac", "aliases"}
    ports: list[dict[str, Any]]  # {"container": 80, "protocol": "tcp", "host_ip": "0.0.0.0", "host": 8080 | None}
    volumes: list[str]
    node_id: str | None  # the node it belongs to, if Zenith created it


class ImageSeen(TypedDict):
    """An image on a host."""

    id: str
    tags: list[str]
    size: int
    shared_size: int | None
    created_at: str
    containers: int  # how many use it
    dangling: bool


class VolumeSeen(TypedDict):
    """A volume on a host."""

    name: str
    driver: str
    size: int | None
    used_by: list[str]  # names of containers
    dangling: bool


class NetworkSeen(TypedDict):
    """A network on a host."""

    id: str
    name: str
    driver: str
    scope: str
    subnets: list[str]
    gateway: str | None
    internal: bool
    members: list[dict[str, Any]]  # {"id", "name", "ip"}
