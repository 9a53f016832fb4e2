"""What the API says of hosts, groups and nodes, and what it takes."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from infra_app import validation
from infra_app.logs import Lines
from infra_app.masked_environment import environment_of
from infra_app.models import Host, Node, NodeEvent, NodeGroup, NodeSample
from infra_app.models.group import GroupKind, RestartPolicy
from infra_app.nodes import possible
from infra_app.states import Desired, NodeStatus
from infra_app.validation import Deployment

_STATUSES: Final = " ".join(f"`{status.value}`: {status.sentence}" for status in NodeStatus)
_DESIRED: Final = " ".join(f"`{desired.value}`: {desired.sentence}" for desired in Desired)
_ENVIRONMENT: Final = (
    "Variables of the worker's environment, with names that ZENITH_NODE_ENVIRONMENT allows. "
    "What stands under the name of a secret is shown as `***`."
)
_SECRETS: Final = "Like `environment`, but handed over as files where the engine allows, and shown nowhere."

# Bounds are validation.py's to check, for pages, commands and programs alike; here they are documentation.
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
        description="Its limit, in MB.",
        json_schema_extra={"minimum": validation.MIN_MEMORY_MB, "maximum": validation.MAX_MEMORY_MB},
    ),
]
Cpus = Annotated[
    float,
    Field(description="Its limit, in CPUs.", json_schema_extra={"minimum": validation.MIN_CPUS, "maximum": validation.MAX_CPUS}),
]
Verb = Literal["drain", "stop", "start", "restart", "remove"]
Image = Annotated[
    str, Field(description="One that ZENITH_ALLOWED_IMAGES allows.", json_schema_extra={"minLength": 1, "maxLength": 255})
]
Replicas = Annotated[int, Field(json_schema_extra={"minimum": 0, "maximum": validation.MAX_REPLICAS})]
Variables = Annotated[dict[str, str], Field(json_schema_extra={"maxProperties": validation.MAX_VARIABLES})]
Labels = Annotated[dict[str, str], Field(json_schema_extra={"maxProperties": validation.MAX_LABELS})]
Region = Annotated[str, Field(json_schema_extra={"maxLength": 63, "pattern": f"^(?:{validation.REGION.pattern})?$"})]


class Body(BaseModel):
    """What takes no member that it does not know, and no other type than it says."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DeployRequest(Body):
    """A group of nodes to start; everything has a default."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "reports", "queues": ["reports"], "concurrency": 4, "replicas": 2, "memory_mb": 512}]
        },
    )

    name: str | None = Field(
        default=None, description="Of the group; its nodes are called so too, from the second on with a number.",
        json_schema_extra={"minLength": 1, "maxLength": validation.MAX_NAME, "pattern": f"^{validation.NAME.pattern}$"},
    )  # fmt: skip
    region: Region | None = Field(default=None, description="Only hosts of this region.")
    labels: Labels | None = Field(default=None, description="Only hosts with these labels.")
    host: str | None = Field(
        default=None, description="Only this host. By default each node goes where fewest of its group are, and most room is.",
        json_schema_extra={"minLength": 1, "maxLength": 63},
    )  # fmt: skip
    queues: Queues | None = Field(default=None, description="By default `default`.")
    concurrency: Concurrency | None = None
    replicas: Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": validation.MAX_REPLICAS})] = 1
    memory_mb: Memory | None = None
    cpus: Cpus | None = None
    image: Image | None = Field(default=None, description="By default ZENITH_WORKER_IMAGE.")
    environment: Variables | None = Field(default=None, description=_ENVIRONMENT)
    secrets: Variables | None = Field(default=None, description=_SECRETS)
    restart_policy: str | None = Field(default=None, json_schema_extra={"enum": [*RestartPolicy.values, None]})
    kind: str | None = Field(
        default=None, json_schema_extra={"enum": [*GroupKind.values, None]},
        description="`CONTAINERS`: a container for each, on any host. `SERVICE`: a service of a host that is a Swarm manager.",
    )  # fmt: skip

    def to_deployment(self) -> Deployment:
        """Return what is asked for."""
        given = self.model_dump(exclude_none=True)
        if "queues" in given:
            given["queues"] = tuple(given["queues"])
        if self.name == "":
            given["name"] = "-"  # none at all would mean: make one up
        return Deployment(**given)


class NodeBrief(BaseModel):
    """A node in short."""

    id: UUID
    name: str
    status: NodeStatus
    host: str | None
    reason: str

    @classmethod
    def of(cls, node: Node) -> "NodeBrief":
        """Return the answer for a node; reads its host."""
        return cls.model_construct(
            id=node.id, name=node.name, status=node.shown_status, host=node.host.name if node.host else None, reason=node.reason
        )


class DeployAnswer(BaseModel):
    """The nodes that will run."""

    status: str = "SUCCESS"
    node_id: UUID | None = Field(
        description="Of the first node; null for a Swarm service, whose nodes appear as the swarm makes them."
    )
    message: str
    group_id: UUID
    name: str
    nodes: list[NodeBrief]

    @classmethod
    def of(cls, group: NodeGroup) -> "DeployAnswer":
        """Return the answer for a group; two queries."""
        nodes = list(group.nodes.select_related("host").order_by("created_at", "id"))
        return cls.model_construct(
            status="SUCCESS", node_id=nodes[0].id if nodes else None, message=_deployed(group, nodes), group_id=group.id,
            name=group.name, nodes=[NodeBrief.of(node) for node in nodes],
        )  # fmt: skip


def _deployed(group: NodeGroup, nodes: list[Node]) -> str:
    if not nodes:
        return f"The swarm makes {group.replicas} nodes of {group.name}."
    ready = sum(node.status == NodeStatus.READY for node in nodes)
    if ready == len(nodes):
        return f"{group.name} runs: {ready} of {len(nodes)} ready."
    waiting = next((node.reason for node in nodes if node.reason), "")
    if not any(node.host_id for node in nodes):
        return f"{group.name} is waiting for a host. {waiting}".rstrip()
    return f"{group.name} is being started: {ready} of {len(nodes)} ready.{' ' + waiting if waiting else ''}"


class NodeAnswer(BaseModel):
    """One node: what is wanted of it, and what its host's agent saw."""

    id: UUID
    name: str
    group_id: UUID
    group: str
    host: str | None = Field(description="null until a host has room.")
    region: str
    desired: Desired = Field(description=_DESIRED)
    leaving: bool = Field(description="It is removed once it is drained.")
    status: NodeStatus = Field(description=_STATUSES)
    sentence: str = Field(description="Why it is where it is, for people.")
    actions: list[str] = Field(description="What can be done with it now.")
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
    secrets: list[str] = Field(description="Names of variables that are handed over and shown nowhere.")

    @classmethod
    def of(cls, node: Node) -> "NodeAnswer":
        """Return the answer for a node; reads its group and host."""
        group, status = node.group, node.shown_status
        return cls.model_construct(
            id=node.id, name=node.name, group_id=group.id, group=group.name, host=node.host.name if node.host else None,
            region=node.host.region if node.host else group.region, desired=Desired(node.desired), leaving=node.leaving,
            status=status, sentence=node.reason or status.sentence, actions=sorted(possible(node)), worker=node.worker,
            image=group.image, queues=group.queues, concurrency=group.concurrency, memory_limit_mb=group.memory_mb,
            cpu_limit=group.cpus, container_id=node.container_id, exit_code=node.exit_code, oom_killed=node.oom_killed,
            restarts=node.restarts, cpu_percent=node.cpu_percent, memory_bytes=node.memory_bytes,
            network_rx_bytes=node.network_rx_bytes, network_tx_bytes=node.network_tx_bytes, created_at=node.created_at,
            started_at=node.started_at, ready_at=node.ready_at, finished_at=node.finished_at, observed_at=node.observed_at,
            environment=environment_of(group), secrets=sorted(group.secrets),
        )  # fmt: skip


class EventAnswer(BaseModel):
    """One thing that was wanted of a node, or that happened to it."""

    id: int
    at: datetime
    kind: str
    message: str

    @classmethod
    def of(cls, event: NodeEvent) -> "EventAnswer":
        """Return the answer for an event."""
        return cls.model_construct(id=event.id, at=event.at, kind=event.kind, message=event.message)


class SampleAnswer(BaseModel):
    """What a node used at one moment."""

    at: datetime
    cpu_percent: float
    memory_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int

    @classmethod
    def of(cls, sample: NodeSample) -> "SampleAnswer":
        """Return the answer for a sample."""
        return cls.model_construct(
            at=sample.at, cpu_percent=sample.cpu_percent, memory_bytes=sample.memory_bytes,
            network_rx_bytes=sample.network_rx_bytes, network_tx_bytes=sample.network_tx_bytes,
        )  # fmt: skip


class RefusedAnswer(BaseModel):
    """A node that was left as it is."""

    id: UUID
    reason: str


class ActAnswer(BaseModel):
    """What came of an action on some nodes."""

    done: list[NodeBrief]
    refused: list[RefusedAnswer]


class ActRequest(Body):
    """What to do, and with which nodes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"verb": "drain", "ids": ["0198b2f0-0000-7000-8000-000000000000"]}]}
    )

    verb: Verb
    ids: list[Annotated[UUID, Field(strict=False)]] = Field(min_length=1, max_length=500)


class GroupAnswer(BaseModel):
    """A group of nodes that are alike."""

    id: UUID
    name: str
    kind: GroupKind
    replicas: int = Field(description="How many are wanted to run.")
    ready: int = Field(description="How many are ready.")
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
    decision: str = Field(description="What the autoscaler decided last, in words.")
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, group: NodeGroup, ready: int) -> "GroupAnswer":
        """Return the answer for a group; reads its host."""
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
    online: bool = Field(description="Its agent lives and reaches its engine.")
    agent_online: bool
    engine_error: str
    seen_at: datetime | None
    cordoned: bool = Field(description="It takes no new nodes.")
    region: str
    labels: dict[str, str]
    agent_version: str
    engine_version: str
    operating_system: str
    architecture: str
    cpus: float
    memory_bytes: int
    cpu_percent: float | None = Field(description="Of all its CPUs together, by all its containers.")
    memory_used_bytes: int | None
    swarm_manager: bool
    nodes: int = Field(description="Nodes on it that are not removed.")

    @classmethod
    def of(cls, host: Host, nodes: int) -> "HostAnswer":
        """Return the answer for a host."""
        values = {name: getattr(host, name) for name in cls.model_fields if name != "nodes"}
        return cls.model_construct(**values, nodes=nodes)


class Thing(BaseModel):
    """What a Docker host holds: a container, image, volume or network."""

    id: str
    name: str
    type: str = Field(description="container, image, volume or network.")
    status: str
    size: int | None = Field(description="Bytes, where Docker tells.")
    host: str


class Container(BaseModel):
    """A container and where it is reached."""

    id: str
    name: str
    ip: str | None
    status: str
    uptime: float | None = Field(description="Seconds.")
    networks: list[str]
    ports: list[dict[str, Any]] = Field(description="`container`, `protocol`, and `host_ip` and `host` where it is published.")
    host: str


class LineAnswer(BaseModel):
    """A line of a log."""

    id: str = Field(description="Its place; empty of a line that was kept after the end.")
    at: str = Field(description="When, as Docker has it (RFC 3339); empty where that is not known.")
    stream: str = Field(description="stdout or stderr.")
    text: str


class LinesAnswer(BaseModel):
    """Some lines of a log, the oldest first."""

    lines: list[LineAnswer]
    after: str = Field(description="Ask with this to read on.")
    kept: bool = Field(description="The container has ended, and these are its last lines.")

    @classmethod
    def of(cls, found: Lines) -> "LinesAnswer":
        """Return the answer for some lines."""
        lines = [LineAnswer.model_construct(id=line.id, at=line.at, stream=line.stream, text=line.text) for line in found.entries]
        return cls.model_construct(lines=lines, after=found.after, kept=found.kept)
