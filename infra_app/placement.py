"""Choose a host for a node: a pure function of what the node needs and what each host has free.

A host must be online, not cordoned, in the requested region or in none, have the labels, and have room. Of those, a host that
declares the region comes first; then the host with the fewest nodes of the same group, so that a group spreads; then the host
with the largest free share; then the first by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

#: Tolerance for rounding errors in sums of shares such as 0.1 CPU.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """What a node needs.

    Attributes:
        host: only the host with this name; empty for any.
        region: only hosts in this region, and hosts without a region; empty for any.
        labels: only hosts that have all of these labels.
    """

    cpus: float
    memory_mb: int
    host: str = ""
    region: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostCapacity:
    """A host and what it has free.

    Attributes:
        cpus: CPUs that nodes may request in total; may exceed the host's own, since idle nodes need none.
        alike: nodes of the same group on this host.
    """

    name: str
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
        """The free share of CPU or memory, whichever is smaller; 1 at most."""
        return min(self.cpus_free / (self.cpus or 1), self.memory_free_mb / (self.memory_mb or 1))

    def has_room_for(self, request: ResourceRequest) -> bool:
        """Whether this host has room for the request."""
        return request.cpus <= self.cpus_free + _ROUNDING and request.memory_mb <= self.memory_free_mb

    def after_placing(self, request: ResourceRequest) -> "HostCapacity":
        """Return this host with the request placed on it."""
        cpus_free, memory_free_mb = self.cpus_free - request.cpus, self.memory_free_mb - request.memory_mb
        return replace(self, cpus_free=cpus_free, memory_free_mb=memory_free_mb, alike=self.alike + 1)


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No host fits for now; `reason` is a sentence for people."""

    reason: str


def choose(request: ResourceRequest, hosts: Sequence[HostCapacity]) -> HostCapacity | Unschedulable:
    """Return the host for a node, or the reason why none fits."""
    labels = ", ".join(f"{name}={value}" for name, value in sorted(request.labels.items()))
    # A condition, and the reason to give if no remaining host fulfils it.
    conditions: tuple[tuple[Callable[[HostCapacity], bool], str], ...] = (
        (lambda host: request.host in ("", host.name), f"There is no host {request.host}."),
        (lambda host: host.online, f"Host {request.host} is unreachable." if request.host else "No Docker host is online."),
        (
            lambda host: not request.region or host.region in ("", request.region),
            f"No suitable host is in region {request.region}.",
        ),
        (lambda host: request.labels.items() <= host.labels.items(), f"No suitable host has the labels {labels}."),
        (lambda host: not host.cordoned, "Every suitable host is cordoned."),
    )
    fitting = list(hosts)
    for fits, reason in conditions:
        fitting = [host for host in fitting if fits(host)]
        if not fitting:
            return Unschedulable(reason if hosts else "No Docker host is known.")
    with_room = [host for host in fitting if host.has_room_for(request)]
    if not with_room:
        return Unschedulable(_too_small(request, fitting))
    return min(with_room, key=lambda host: (request.region not in ("", host.region), host.alike, -host.share_free, host.name))


def _too_small(request: ResourceRequest, hosts: Sequence[HostCapacity]) -> str:
    best = max(hosts, key=lambda host: host.share_free)
    free = f"{max(best.cpus_free, 0):g} CPU and {max(best.memory_free_mb, 0):,} MB"
    return f"No host has room for {request.cpus:g} CPU and {request.memory_mb:,} MB; {best.name} has the most free: {free}."
