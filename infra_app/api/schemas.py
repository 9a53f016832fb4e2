"""Requests and responses of the API of hosts, groups and nodes."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from infra_app import validation
from infra_app.logs import Lines
from infra_app.masked_environment import environment_of
from infra_app.models import Host, Node, NodeEvent, NodeGroup, NodeSample
from infra_app.models.group import GroupKind, RestartPolicy
from infra_app.nodes import allowed_actions
from infra_app.states import Desired, NodeStatus
from infra_app.validation import Deployment

_STATUSES: Final = " ".join(f"`{status.value}`: {status.sentence}" for status in NodeStatus)
_DESIRED: Final = " ".join(f"`{desired.value}`: {desired.sentence}" for desired in Desired)
_ENVIRONMENT: Final = (
    "Variables of the worker's environment; ZENITH_NODE_ENVIRONMENT says which names are allowed. "
    "Values whose names count as secret are shown as `***`."
)
_SECRETS: Final = "Like `environment`, but passed to the container as files and never shown."

# validation.py checks the bounds for pages, commands and the API alike; here they only document the API.
Queues = Annotated[
    list[Annotated[str, Field(json_schema_extra={"pattern": f"^{validation.QUEUE.pattern}$"})]],
    Field(json_schema_extra={"minItems": 1, "maxItems": validation.MAX_QUEUES}),
]
Concurrency = Annotated[
    int,
    Field(description="Tasks that a node runs at once.", json_schema_extra={"minimum": 1, "maximum": validation.MAX_CONCURRENCY}),
]
Memory = Annotated[
    int,
    Field(
        description="Memory limit in MB.",
        json_schema_extra={"minimum": validation.MIN_MEMORY_MB, "maximum": validation.MAX_MEMORY_MB},
    ),
]
Cpus = Annotated[
    float,
    Field(description="CPU limit, in CPUs.", json_schema_extra={"minimum": validation.MIN_CPUS, "maximum": validation.MAX_CPUS}),
]
Verb = Literal["drain", "stop", "start", "restart", "remove"]
Image = Annotated[
    str, Field(description="An image that ZENITH_ALLOWED_IMAGES allows.", json_schema_extra={"minLength": 1, "maxLength": 255})
]
Replicas = Annotated[int, Field(json_schema_extra={"minimum": 0, "maximum": validation.MAX_REPLICAS})]
Variables = Annotated[dict[str, str], Field(json_schema_extra={"maxProperties": validation.MAX_VARIABLES})]
Labels = Annotated[dict[str, str], Field(json_schema_extra={"maxProperties": validation.MAX_LABELS})]
Region = Annotated[str, Field(json_schema_extra={"maxLength": 63, "pattern": f"^(?:{validation.REGION.pattern})?$"})]


class Body(BaseModel):
    """Base of request bodies: unknown members and other types are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DeployRequest(Body):
    """A group of nodes to start; everything has a default."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "reports", "queues": ["reports"], "concurrency": 4, "replicas": 2, "memory_mb": 512}]
        },
    )

    name: str | None = Field(
        default=None, description="Name of the group. Its first node has the same name; further nodes have a number appended.",
        json_schema_extra={"minLength": 1, "maxLength": validation.MAX_NAME, "pattern": f"^{validation.NAME.pattern}$"},
    )  # fmt: skip
    region: Region | None = Field(default=None, description="Place nodes on hosts of this region only.")
    labels: Labels | None = Field(default=None, description="Place nodes on hosts with these labels only.")
    host: str | None = Field(
        default=None, json_schema_extra={"minLength": 1, "maxLength": 63},
        description="Place nodes on this host only. By default, nodes spread over the hosts that have the most room.",
    )  # fmt: skip
    queues: Queues | None = Field(default=None, description="Queues to consume; by default, `default`.")
    concurrency: Concurrency | None = None
    replicas: Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": validation.MAX_REPLICAS})] = 1
    memory_mb: Memory | None = None
    cpus: Cpus | None = None
    image: Image | None = Field(default=None, description="Image to run; by default, ZENITH_WORKER_IMAGE.")
    environment: Variables | None = Field(default=None, description=_ENVIRONMENT)
    secrets: Variables | None = Field(default=None, description=_SECRETS)
    restart_policy: str | None = Field(default=None, json_schema_extra={"enum": [*RestartPolicy.values, None]})
    kind: str | None = Field(
        default=None, json_schema_extra={"enum": [*GroupKind.values, None]},
        description="`CONTAINERS`: one container per node, on any host. `SERVICE`: a Swarm service, created through a manager.",
    )  # fmt: skip

    def to_deployment(self) -> Deployment:
        """Return the request as a deployment."""
        members = self.model_dump(exclude_none=True)
        if "queues" in members:
            members["queues"] = tuple(members["queues"])
        if self.name == "":
            members["name"] = "-"  # fails validation; an empty name would have one generated
        return Deployment(**members)


class NodeBrief(BaseModel):
    """A short form of a node."""

    id: UUID
    name: str
    status: NodeStatus
    host: str | None
    reason: str

    @classmethod
    def of(cls, node: Node) -> "NodeBrief":
        """Return the short form of a node; reads its host."""
        return cls.model_construct(
            id=node.id, name=node.name, status=node.shown_status, host=node.host.name if node.host else None, reason=node.reason
        )


class DeployAnswer(BaseModel):
    """A deployed group and its nodes."""

    status: str = "SUCCESS"
    node_id: UUID | None = Field(
        description="Id of the first node; null for a Swarm service, whose nodes appear once the swarm creates them."
    )
    message: str
    group_id: UUID
    name: str
    nodes: list[NodeBrief]

    @classmethod
    def of(cls, group: NodeGroup) -> "DeployAnswer":
        """Return the response for a group; two queries."""
        nodes = list(group.nodes.select_related("host").order_by("created_at", "id"))
        return cls.model_construct(
            status="SUCCESS", node_id=nodes[0].id if nodes else None, message=_deployed(group, nodes), group_id=group.id,
            name=group.name, nodes=[NodeBrief.of(node) for node in nodes],
        )  # fmt: skip


def _deployed(group: NodeGroup, nodes: list[Node]) -> str:
    if not nodes:
        return f"The swarm is creating {group.replicas} nodes of {group.name}."
    ready = sum(node.status == NodeStatus.READY for node in nodes)
    if ready == len(nodes):
        return f"{group.name} is running: {ready} of {len(nodes)} nodes ready."
    waiting = next((node.reason for node in nodes if node.reason), "")
    if not any(node.host_id for node in nodes):
        return f"{group.name} is waiting for a host. {waiting}".rstrip()
    return f"{group.name} is starting: {ready} of {len(nodes)} nodes ready.{' ' + waiting if waiting else ''}"


class NodeAnswer(BaseModel):
    """A node: its desired state, and what its host's agent observed."""

    id: UUID
    name: str
    group_id: UUID
    group: str
    host: str | None = Field(description="null until the node is placed on a host.")
    region: str
    desired: Desired = Field(description=_DESIRED)
    leaving: bool = Field(description="Whether it is removed once drained.")
    status: NodeStatus = Field(description=_STATUSES)
    sentence: str = Field(description="The reason for its status, for people.")
    actions: list[str] = Field(description="The actions that are possible now.")
    worker: str = Field(description="The name of its Celery worker.")
    image: str
    queues: list[str]
    concurrency: int
    memory_limit_mb: int
    cpu_limit: float
    container_id: str
    exit_code: int | None
    oom_killed: bool
    restarts: int
    cpu_percent: float | None = Field(description="100 is one CPU.")
    memory_bytes: int | None
    network_rx_bytes: int | None
    network_tx_bytes: int | None
    created_at: datetime
    started_at: datetime | None
    ready_at: datetime | None
    finished_at: datetime | None
    observed_at: datetime | None
    environment: dict[str, str] = Field(description=_ENVIRONMENT)
    secrets: list[str] = Field(description="Names of the secrets; their values are never shown.")

    @classmethod
    def of(cls, node: Node) -> "NodeAnswer":
        """Return the response for a node; reads its group and host."""
        group, status = node.group, node.shown_status
        return cls.model_construct(
            id=node.id, name=node.name, group_id=group.id, group=group.name, host=node.host.name if node.host else None,
            region=node.host.region if node.host else group.region, desired=Desired(node.desired), leaving=node.leaving,
            status=status, sentence=node.reason or status.sentence, actions=sorted(allowed_actions(node)), worker=node.worker,
            image=group.image, queues=group.queues, concurrency=group.concurrency, memory_limit_mb=group.memory_mb,
            cpu_limit=group.cpus, container_id=node.container_id, exit_code=node.exit_code, oom_killed=node.oom_killed,
            restarts=node.restarts, cpu_percent=node.cpu_percent, memory_bytes=node.memory_bytes,
            network_rx_bytes=node.network_rx_bytes, network_tx_bytes=node.network_tx_bytes, created_at=node.created_at,
            started_at=node.started_at, ready_at=node.ready_at, finished_at=node.finished_at, observed_at=node.observed_at,
            environment=environment_of(group), secrets=sorted(group.secrets),
        )  # fmt: skip


class EventAnswer(BaseModel):
    """One thing that was requested of a node, or that happened to it."""

    id: int
    at: datetime
    kind: str
    message: str

    @classmethod
    def of(cls, event: NodeEvent) -> "EventAnswer":
        """Return the response for an event."""
        return cls.model_construct(id=event.id, at=event.at, kind=event.kind, message=event.message)


class SampleAnswer(BaseModel):
    """The resource usage of a node at one moment."""

    at: datetime
    cpu_percent: float
    memory_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int

    @classmethod
    def of(cls, sample: NodeSample) -> "SampleAnswer":
        """Return the response for a sample."""
        return cls.model_construct(
            at=sample.at, cpu_percent=sample.cpu_percent, memory_bytes=sample.memory_bytes,
            network_rx_bytes=sample.network_rx_bytes, network_tx_bytes=sample.network_tx_bytes,
        )  # fmt: skip


class RefusedAnswer(BaseModel):
    """A node that was not changed, and the reason."""

    id: UUID
    reason: str


class ActAnswer(BaseModel):
    """The result of an action on nodes."""

    done: list[NodeBrief]
    refused: list[RefusedAnswer]


class ActRequest(Body):
    """An action, and the nodes to apply it to."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"verb": "drain", "ids": ["0198b2f0-0000-7000-8000-000000000000"]}]}
    )

    verb: Verb
    ids: list[Annotated[UUID, Field(strict=False)]] = Field(min_length=1, max_length=500)


class GroupAnswer(BaseModel):
    """A node group."""

    id: UUID
    name: str
    kind: GroupKind
    replicas: int = Field(description="Desired number of running nodes.")
    ready: int = Field(description="Number of ready nodes.")
    image: str
    queues: list[str]
    concurrency: int
    memory_mb: int
    cpus: float
    environment: dict[str, str] = Field(description=_ENVIRONMENT)
    secrets: list[str]
    restart_policy: RestartPolicy
    region: str
    labels: dict[str, str]
    host: str | None
    autoscale: bool
    dry_run: bool
    scale_queue: str
    min_replicas: int
    max_replicas: int
    target_seconds: int
    cooldown_seconds: int
    scaled_at: datetime | None
    decided_at: datetime | None
    decision: str = Field(description="The autoscaler's latest decision, in words.")
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, group: NodeGroup, ready: int) -> "GroupAnswer":
        """Return the response for a group; reads its host."""
        same = {name: getattr(group, name) for name in cls.model_fields if name not in _OWN_OF_GROUPS}
        return cls.model_construct(
            **same, ready=ready, environment=environment_of(group), secrets=sorted(group.secrets),
            host=group.host.name if group.host else None, kind=GroupKind(group.kind),
            restart_policy=RestartPolicy(group.restart_policy),
        )  # fmt: skip


_OWN_OF_GROUPS: Final = {"ready", "environment", "secrets", "host", "kind", "restart_policy"}


class HostAnswer(BaseModel):
    """A Docker host and its agent."""

    name: str
    online: bool = Field(description="Whether its agent is online and reaches its engine.")
    agent_online: bool
    engine_error: str
    seen_at: datetime | None
    cordoned: bool = Field(description="Whether no new nodes are placed on it.")
    region: str
    labels: dict[str, str]
    agent_version: str
    engine_version: str
    operating_system: str
    architecture: str
    cpus: float
    memory_bytes: int
    cpu_percent: float | None = Field(description="Share of all its CPUs that its containers use together.")
    memory_used_bytes: int | None
    swarm_manager: bool
    nodes: int = Field(description="Number of its nodes that are not removed.")

    @classmethod
    def of(cls, host: Host, nodes: int) -> "HostAnswer":
        """Return the response for a host."""
        values = {name: getattr(host, name) for name in cls.model_fields if name != "nodes"}
        return cls.model_construct(**values, nodes=nodes)


class Thing(BaseModel):
    """A resource on a Docker host: a container, image, volume or network."""

    id: str
    name: str
    type: str = Field(description="container, image, volume or network.")
    status: str
    size: int | None = Field(description="Size in bytes; null if Docker does not report it.")
    host: str


class Container(BaseModel):
    """A container and its addresses."""

    id: str
    name: str
    ip: str | None
    status: str
    uptime: float | None = Field(description="Seconds since it started; null if it is not running.")
    networks: list[str]
    ports: list[dict[str, Any]] = Field(
        description="`container` and `protocol`; also `host_ip` and `host` if the port is published."
    )
    host: str


class LineAnswer(BaseModel):
    """A log line."""

    id: str = Field(description="Id of the line; empty for stored lines of a container that has exited.")
    at: str = Field(description="Docker's time of the line (RFC 3339); empty if not known.")
    stream: str = Field(description="stdout or stderr.")
    text: str


class LinesAnswer(BaseModel):
    """Some lines of a log, oldest first."""

    lines: list[LineAnswer]
    after: str = Field(description="Pass this as `after` to continue reading.")
    kept: bool = Field(description="Whether these are the stored last lines of a container that has exited.")

    @classmethod
    def of(cls, result: Lines) -> "LinesAnswer":
        """Return the response for some lines."""
        lines = [
            LineAnswer.model_construct(id=line.id, at=line.at, stream=line.stream, text=line.text) for line in result.entries
        ]
        return cls.model_construct(lines=lines, after=result.after, kept=result.kept)
