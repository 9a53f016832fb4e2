"""The Docker hosts' containers, images, volumes and networks, with what uses each, as rows that can be filtered."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from infra_app.inventory_snapshots import image_name, uptime
from infra_app.models import HostSnapshot
from infra_app.types import ContainerSeen

_SHORT_ID: Final = 12


class ResourceKind(StrEnum):
    """A kind of Docker resource."""

    CONTAINER = "container"
    IMAGE = "image"
    VOLUME = "volume"
    NETWORK = "network"

    @property
    def label(self) -> str:
        """Its plural, for people."""
        return f"{self.value.capitalize()}s"


class Usage(StrEnum):
    """Whether anything uses a resource."""

    USED = "in use"
    UNUSED = "unused"
    DANGLING = "dangling"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A container, image, volume or network.

    Attributes:
        size: in bytes; None if Docker does not report it.
        about: a few words about it: an image, a driver, subnets.
        used_by: names of what uses it; for a container, what it uses.
        node_id: the node that a container belongs to.
    """

    kind: ResourceKind
    id: str
    name: str
    status: str
    use: Usage
    size: int | None
    host: str
    about: str
    used_by: list[str] = field(default_factory=list)
    uptime: float | None = None
    node_id: str | None = None

    @property
    def short_id(self) -> str:
        """The short id, as Docker's own lists show it."""
        return self.id.removeprefix("sha256:")[:_SHORT_ID]

    def matches(self, text: str) -> bool:
        """Whether a text occurs in its name, id, description or status, or in a name that it uses or is used by."""
        needle = text.lower()
        return any(needle in words.lower() for words in (self.name, self.id, self.about, self.status, *self.used_by))


def resources(snapshots: Iterable[HostSnapshot]) -> list[Resource]:
    """Return everything in the snapshots, ordered by kind, host and name."""
    collected = [resource for snapshot in snapshots for resource in _of_host(snapshot)]
    order = list(ResourceKind)
    return sorted(collected, key=lambda resource: (order.index(resource.kind), resource.host, resource.name))


def _of_host(snapshot: HostSnapshot) -> Iterator[Resource]:
    host = snapshot.host.name
    by_image: dict[str, list[str]] = defaultdict(list)
    for container in snapshot.containers:
        by_image[container["image_id"]].append(container["name"])
        yield _container(container, host)
    for image in snapshot.images:
        users = by_image.get(image["id"], [])
        yield Resource(
            kind=ResourceKind.IMAGE, id=image["id"], name=image_name(image), status="",
            use=_use(image["dangling"], users), host=host, size=image["size"], about=", ".join(image["tags"][1:]), used_by=users,
        )  # fmt: skip
    for volume in snapshot.volumes:
        yield Resource(
            kind=ResourceKind.VOLUME, id=volume["name"], name=volume["name"], status="",
            use=_use(volume["dangling"], volume["used_by"]), size=volume["size"], host=host,
            about=volume["driver"], used_by=volume["used_by"],
        )  # fmt: skip
    for network in snapshot.networks:
        members = [f"{member['name']} {member['ip']}".strip() for member in network["members"]]
        about = ", ".join([network["driver"], *network["subnets"], *(["internal"] if network["internal"] else [])])
        yield Resource(
            kind=ResourceKind.NETWORK, id=network["id"], name=network["name"], status="",
            use=_use(False, members), size=None, host=host,
            about=about, used_by=members,
        )  # fmt: skip


def _container(container: ContainerSeen, host: str) -> Resource:
    uses = [*(network["name"] for network in container["networks"]), *container["volumes"]]
    running = container["status"] == "running"
    return Resource(
        kind=ResourceKind.CONTAINER, id=container["id"], name=container["name"], status=container["status"], host=host,
        use=Usage.USED if running else Usage.UNUSED, size=container["size"], about=container["image"], used_by=uses,
        uptime=uptime(container), node_id=container["node_id"],
    )  # fmt: skip


def _use(dangling: bool, users: list[str]) -> Usage:
    return Usage.DANGLING if dangling else Usage.USED if users else Usage.UNUSED
