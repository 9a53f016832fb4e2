"""Lay out the map of a host's networks and containers on the server, as inline SVG.

Networks are on the left and containers on the right, with a line for each membership that carries the address. Containers are
ordered by their networks, so that few lines cross. Nothing is conveyed by colour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra_app.models import HostSnapshot
from infra_app.types import ContainerSeen, NetworkSeen

WIDTH: Final = 860
BOX: Final = 250
TALL: Final = 42
_GAP: Final = 14
_LEFT: Final = 1
_RIGHT: Final = WIDTH - BOX - 1
#: Most containers drawn per host; the table lists all.
MOST: Final = 60
_LONGEST: Final = 30


@dataclass(frozen=True)
class Box:
    """A network or a container: its position and its two lines of text."""

    x: int
    y: float
    title: str
    below: str
    quiet: bool

    @property
    def middle(self) -> float:
        """The y coordinate of its middle."""
        return self.y + TALL / 2

    @property
    def title_y(self) -> float:
        """The y coordinate of its name."""
        return self.y + 18

    @property
    def below_y(self) -> float:
        """The y coordinate of the line below its name."""
        return self.y + 33


@dataclass(frozen=True)
class Link:
    """A membership: its curve, and the address with its position."""

    path: str
    address: str
    x: float
    y: float


@dataclass(frozen=True)
class NetworkMap:
    """The map of one host, as `_map.html` draws it."""

    host: str
    width: int
    height: float
    networks: list[Box]
    containers: list[Box]
    links: list[Link]
    left_out: int
    words: str


def network_map(snapshot: HostSnapshot) -> NetworkMap | None:
    """Return the map of a host; None if it has no containers."""
    networks: list[NetworkSeen] = sorted(snapshot.networks, key=lambda network: network["name"])
    places = {network["name"]: index for index, network in enumerate(networks)}
    containers: list[ContainerSeen] = sorted(snapshot.containers, key=lambda container: _order(container, places))
    if not containers:
        return None
    containers_drawn = containers[:MOST]
    used = {network["name"] for container in containers_drawn for network in container["networks"]}
    networks_drawn = [network for network in networks if network["name"] in used]
    height = max(len(networks_drawn), len(containers_drawn)) * (TALL + _GAP) + _GAP
    network_boxes = _column(_LEFT, [_network(network) for network in networks_drawn], height)
    container_boxes = _column(_RIGHT, [_container(container) for container in containers_drawn], height)
    by_name = {network["name"]: box for network, box in zip(networks_drawn, network_boxes, strict=True)}
    links = [
        _link(by_name[network["name"]], box, network["ip"] or "")
        for container, box in zip(containers_drawn, container_boxes, strict=True)
        for network in container["networks"]
        if network["name"] in by_name
    ]
    counts = f"{_several(len(containers_drawn), 'container')} in {_several(len(networks_drawn), 'network')}"
    words = f"{counts} on {snapshot.host.name}; the tables below list the same data"
    return NetworkMap(
        snapshot.host.name, WIDTH, height, network_boxes, container_boxes, links, len(containers) - len(containers_drawn), words
    )


def _order(container: ContainerSeen, places: dict[str, int]) -> tuple[float, str]:
    """Sort containers by the middle of their networks; containers without a network come last."""
    positions = [places[network["name"]] for network in container["networks"] if network["name"] in places]
    return (sum(positions) / len(positions) if positions else float("inf"), container["name"])


def _column(x: int, texts: Sequence[tuple[str, str, bool]], height: float) -> list[Box]:
    """Distribute boxes evenly over the height."""
    step = height / max(len(texts), 1)
    return [Box(x, index * step + (step - TALL) / 2, *text) for index, text in enumerate(texts)]


def _network(network: NetworkSeen) -> tuple[str, str, bool]:
    return _short(network["name"]), _short(", ".join([network["driver"], *network["subnets"][:1]])), not network["members"]


def _container(container: ContainerSeen) -> tuple[str, str, bool]:
    ports = ", ".join(f"{port['host']}→{port['container']}" for port in container["ports"] if port["host"])
    below = f"{container['status']} {ports}".strip()
    return _short(container["name"]), _short(below), container["status"] != "running"


def _link(network: Box, container: Box, address: str) -> Link:
    start, end = network.x + BOX, container.x
    bend, low, high = (start + end) / 2, f"{network.middle:.1f}", f"{container.middle:.1f}"
    path = f"M{start} {low}C{bend} {low} {bend} {high} {end} {high}"
    return Link(path, address, end - 6, container.middle - 5)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _several(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
