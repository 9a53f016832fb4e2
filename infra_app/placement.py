"""Where a node goes: a pure decision over what it needs and what each host has left.

A host must fit (be online, in the region or in none, have the labels, not be cordoned, have room). Among those that fit one that
states the region goes first; then the one with the fewest nodes of the same group, so that a group spreads; then the one with
most left; then by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

#: Sums of shares such as 0.1 CPU miss their mark by less than this.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """What a node needs.

    Attributes:
        host: only the host of this name; empty for any.
        region: only hosts of this region, and those of which nobody said where they are; empty for any.
        labels: only hosts that have all of these.
    """

    cpus: float
    memory_mb: int
    host: str = ""
    region: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostCapacity:
    """A host and what it has left.

    Attributes:
        cpus: CPUs that nodes may be promised in all; may be more than the host has, since idle ones need none.
        alike: nodes of the same group on it.
    """

    host: str
    cpus: float
    cpus_free: float
    memory_mb: int
    memory_free_mb: int
    online: bool = True
    cordoned: bool = False
    region: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    alike: int = 0

    @property
    def share_free(self) -> float:
        """What is left of the scarcer of both, 1 at most."""
        return min(self.cpus_free / (self.cpus or 1), self.memory_free_mb / (self.memory_mb or 1))

    def holds(self, wish: ResourceRequest) -> bool:
        """Whether a node has room here."""
        return wish.cpus <= self.cpus_free + _ROUNDING and wish.memory_mb <= self.memory_free_mb

    def less(self, wish: ResourceRequest) -> "HostCapacity":
        """Return it with one node more."""
        cpus_free, memory_free_mb = self.cpus_free - wish.cpus, self.memory_free_mb - wish.memory_mb
        return replace(self, cpus_free=cpus_free, memory_free_mb=memory_free_mb, alike=self.alike + 1)


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No host takes it, for now; `reason` is a sentence for people."""

    reason: str


def choose(wish: ResourceRequest, rooms: Sequence[HostCapacity]) -> HostCapacity | Unschedulable:
    """Return the host for a node, or why there is none."""
    labels = ", ".join(f"{name}={value}" for name, value in sorted(wish.labels.items()))
    # What a host must be, and what to say where none of those left is.
    conditions: tuple[tuple[Callable[[HostCapacity], bool], str], ...] = (
        (lambda room: wish.host in ("", room.host), f"There is no host {wish.host}."),
        (lambda room: room.online, f"Host {wish.host} is unreachable." if wish.host else "No Docker host is online."),
        (
            lambda room: not wish.region or room.region in ("", wish.region),
            f"No host that could take it is in region {wish.region}.",
        ),
        (lambda room: wish.labels.items() <= room.labels.items(), f"No host that could take it has the labels {labels}."),
        (lambda room: not room.cordoned, "Every host that could take it is cordoned."),
    )
    fitting = list(rooms)
    for fits, reason in conditions:
        fitting = [room for room in fitting if fits(room)]
        if not fitting:
            return Unschedulable(reason if rooms else "No Docker host is known.")
    roomy = [room for room in fitting if room.holds(wish)]
    if not roomy:
        return Unschedulable(_too_small(wish, fitting))
    return min(roomy, key=lambda room: (wish.region not in ("", room.region), room.alike, -room.share_free, room.host))


def _too_small(wish: ResourceRequest, rooms: Sequence[HostCapacity]) -> str:
    best = max(rooms, key=lambda room: room.share_free)
    left = f"{max(best.cpus_free, 0):g} CPU and {max(best.memory_free_mb, 0):,} MB"
    return f"No host has room for {wish.cpus:g} CPU and {wish.memory_mb:,} MB; {best.host} has most left: {left}."
