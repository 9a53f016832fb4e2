"""Typed values of an engine's JSON responses, which differ between versions. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

#: Docker's time for "never".
_NEVER: Final = "0001-01-01"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine and its machine."""

    version: str
    operating_system: str
    architecture: str
    cpus: float
    memory_bytes: int
    swarm_id: str
    swarm_node_id: str
    swarm_manager: bool


@dataclass(frozen=True, slots=True)
class ContainerState:
    """The state of one container, as inspected. Times are by the engine's clock."""

    id: str
    name: str
    image_id: str
    labels: Mapping[str, str]
    status: str
    exit_code: int
    oom_killed: bool
    error: str
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self.status in {"running", "paused"}


@dataclass(frozen=True, slots=True)
class OwnedContainer:
    """One container, as listed."""

    id: str
    name: str
    labels: Mapping[str, str]
    status: str

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self.status in {"running", "paused"}


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """An event of the engine."""

    kind: str  # container, image, volume, network, service, …
    action: str  # start, die, oom, destroy, …
    id: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a container's log: time (RFC 3339, with nanoseconds), stream and text."""

    at: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """A container's resource counters.

    Attributes:
        read_at: seconds, by the engine's clock.
        cpu_seconds: CPU time since the container started.
        network_rx_bytes, network_tx_bytes: total of all interfaces since the container started.
    """

    read_at: float
    cpu_seconds: float
    memory_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int


def engine_info(info: Mapping[str, Any]) -> EngineInfo:
    """Parse the response of `GET /info`."""
    swarm = info.get("Swarm") or {}
    return EngineInfo(
        version=info.get("ServerVersion", ""),
        operating_system=info.get("OperatingSystem", ""),
        architecture=info.get("Architecture", ""),
        cpus=float(info.get("NCPU") or 0),
        memory_bytes=int(info.get("MemTotal") or 0),
        swarm_id=(swarm.get("Cluster") or {}).get("ID", ""),
        swarm_node_id=swarm.get("NodeID", ""),
        swarm_manager=bool(swarm.get("ControlAvailable")),
    )


def container_state(details: Mapping[str, Any]) -> ContainerState:
    """Parse the response of `GET /containers/{id}/json`."""
    state = details["State"]
    return ContainerState(
        id=details["Id"],
        name=details["Name"].lstrip("/"),
        image_id=details.get("Image", ""),
        labels=details["Config"].get("Labels") or {},
        status=state["Status"],
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        started_at=moment(state.get("StartedAt")),
        finished_at=moment(state.get("FinishedAt")),
    )


def owned_container(row: Mapping[str, Any]) -> OwnedContainer:
    """Parse a row of `GET /containers/json`."""
    names = row.get("Names") or [""]
    return OwnedContainer(row["Id"], names[0].lstrip("/"), row.get("Labels") or {}, row["State"])


def engine_event(event: Mapping[str, Any]) -> EngineEvent:
    """Parse an entry of `GET /events`; in an action such as `exec_create: ls`, the part after the colon is dropped."""
    actor = event.get("Actor") or {}
    action, _, _ = str(event.get("Action", "")).partition(":")
    return EngineEvent(event.get("Type", ""), action, actor.get("ID", ""), actor.get("Attributes") or {})


def container_stats(stats: Mapping[str, Any]) -> ContainerStats | None:
    """Parse the response of `GET /containers/{id}/stats`; None for a container that is not running."""
    read_at = moment(stats.get("read"))
    used = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    memory = stats.get("memory_stats") or {}
    if read_at is None or "usage" not in memory:
        return None
    networks = (stats.get("networks") or {}).values()
    return ContainerStats(
        read_at=read_at.timestamp(),
        cpu_seconds=int(used.get("total_usage") or 0) / 1e9,
        memory_bytes=_memory(memory),
        network_rx_bytes=sum(int(interface.get("rx_bytes") or 0) for interface in networks),
        network_tx_bytes=sum(int(interface.get("tx_bytes") or 0) for interface in networks),
    )


def _memory(memory: Mapping[str, Any]) -> int:
    """Return the memory in use without reclaimable page cache, as `docker stats` counts it."""
    details = memory.get("stats") or {}
    # The name in cgroup v1, then in v2.
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    return max(0, int(memory["usage"]) - int(cache))


def moment(text: str | None) -> datetime | None:
    """Parse a time of Docker's, which has nanoseconds; None for a time that means never."""
    if not text or text.startswith(_NEVER):
        return None
    head, dot, rest = text.partition(".")
    if dot:
        digits = rest.rstrip("Z").partition("+")[0].partition("-")[0]
        text = f"{head}.{digits[:6]:0<6}{rest[len(digits) :]}"
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
