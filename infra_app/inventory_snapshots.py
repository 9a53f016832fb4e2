"""Read the inventory of the Docker hosts from the snapshots that their agents write."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from infra_app.errors import NoHostOnlineError
from infra_app.models import HostSnapshot
from infra_app.types import ContainerSeen, ImageSeen

_SHORT_ID = 12


#: Networks that every Docker Engine has by itself.
DOCKERS_OWN: Final = frozenset({"none", "host", "bridge"})


@dataclass
class InventoryItem:
    """A container, image, volume or network. `size` is in bytes; None if Docker does not report it."""

    id: str
    name: str
    type: str
    status: str
    size: int | None
    host: str


@dataclass
class Container:
    """A container and its addresses; `uptime` is in seconds."""

    id: str
    name: str
    ip: str | None
    status: str
    uptime: float | None
    networks: list[str]
    ports: list[dict[str, Any]]
    host: str


def snapshots() -> list[HostSnapshot]:
    """Return the latest snapshot of every host, with the host, ordered by name; one query."""
    return list(HostSnapshot.objects.select_related("host").order_by("host__name"))


def snapshots_online() -> list[HostSnapshot]:
    """Return the snapshots of the hosts that are online. Raises NoHostOnlineError if none is."""
    online = [snapshot for snapshot in snapshots() if snapshot.host.online]
    if not online:
        raise NoHostOnlineError
    return online


def inventory_items(host_snapshots: Iterable[HostSnapshot]) -> Iterator[InventoryItem]:
    """Yield everything in the snapshots, by host and kind."""
    for snapshot in host_snapshots:
        host = snapshot.host.name
        for container in snapshot.containers:
            yield InventoryItem(container["id"], container["name"], "container", container["status"], container["size"], host)
        for image in snapshot.images:
            yield InventoryItem(
                image["id"], image_name(image), "image", _use(image["dangling"], image["containers"]), image["size"], host
            )
        for volume in snapshot.volumes:
            yield InventoryItem(
                volume["name"], volume["name"], "volume", _use(volume["dangling"], volume["used_by"]), volume["size"], host
            )
        for network in snapshot.networks:
            yield InventoryItem(network["id"], network["name"], "network", network["driver"], None, host)


def containers(host_snapshots: Iterable[HostSnapshot]) -> Iterator[Container]:
    """Yield the containers in the snapshots with their addresses, by host."""
    for snapshot in host_snapshots:
        for container in snapshot.containers:
            addresses = [network["ip"] for network in container["networks"] if network["ip"]]
            yield Container(
                container["id"], container["name"], addresses[0] if addresses else None, container["status"], uptime(container),
                [network["name"] for network in container["networks"]], container["ports"], snapshot.host.name,
            )  # fmt: skip


def uptime(container: ContainerSeen) -> float | None:
    """Return how many seconds a container has been running; None if it is not running."""
    if container["status"] != "running" or not container["started_at"]:
        return None
    return max(0.0, (timezone.now() - datetime.fromisoformat(container["started_at"])).total_seconds())


def image_name(image: ImageSeen) -> str:
    """Return an image's first tag, or a short id if it has none."""
    return image["tags"][0] if image["tags"] else image["id"].removeprefix("sha256:")[:_SHORT_ID]


def is_noise(name: str, *, is_used: bool) -> bool:
    """Return whether a network is one that Docker makes by itself and nothing uses."""
    return name in DOCKERS_OWN and not is_used


def _use(dangling: bool, used: object) -> str:
    return "dangling" if dangling else "in use" if used else "unused"
