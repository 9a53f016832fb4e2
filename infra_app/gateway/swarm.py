"""A swarm's services, through one of its managers."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from docker.types import (
    ContainerSpec,
    DriverConfig,
    Healthcheck,
    Mount,
    Resources,
    RestartPolicy,
    SecretReference,
    ServiceMode,
    TaskTemplate,
)

from infra_app.errors import NameTakenError, NotThereError
from infra_app.gateway.connection import Connection
from infra_app.gateway.spec import LOG_FILES, LOG_SIZE, TMP_BYTES
from infra_app.gateway.values import moment

#: Directory of the secrets in a service's containers, fixed by Docker.
SERVICE_SECRETS_DIRECTORY: Final = "/run/secrets"
_SECOND: Final = 10**9
#: Seconds until the swarm replaces a task that has exited.
_RESTART_AFTER: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """The specification of one service. Values of `environment` are Docker templates.

    Attributes:
        secrets: id and file name of each Swarm secret, by its name.
        restart: `any`, `on-failure` or `none`.
        constraints: placement constraints in Docker's syntax.
    """

    name: str
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    network: str
    memory_bytes: int
    cpus: float
    replicas: int
    restart: str
    stop_seconds: int
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """An existing service; an update has to name its `version`."""

    id: str
    name: str
    version: int
    labels: Mapping[str, str]
    replicas: int


@dataclass(frozen=True, slots=True)
class ServiceTask:
    """A task of a service: one run of the container of one slot."""

    id: str
    slot: int
    swarm_node: str
    state: str
    desired_state: str
    container: str
    exit_code: int | None
    error: str
    created_at: datetime | None
    changed_at: datetime | None


class Swarm:
    """The services of a swarm, through one of its managers. Every method raises EngineError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def services(self, label: str) -> list[Service]:
        """Return the services with a label."""
        with self._connection.client() as client:
            return [_service(row) for row in client.services(filters={"label": label})]

    def tasks(self, service: str) -> list[ServiceTask]:
        """Return all tasks of a service, including those that have ended."""
        with self._connection.client() as client:
            return [_task(row) for row in client.tasks(filters={"service": service})]

    def create(self, spec: ServiceSpec) -> None:
        """Create a service; an existing service with the same name is not changed."""
        # The name may be in use: an agent may have died right after creating the service.
        with suppress(NameTakenError), self._connection.client() as client:
            client.create_service(
                _template(spec), name=spec.name, labels=dict(spec.labels), mode=ServiceMode("replicated", spec.replicas)
            )

    def update(self, service: Service, spec: ServiceSpec) -> None:
        """Update a service to this specification; tasks that differ are replaced one after the other."""
        with self._connection.client() as client:
            client.update_service(
                service.id, service.version, _template(spec), name=spec.name, labels=dict(spec.labels),
                mode=ServiceMode("replicated", spec.replicas),
            )  # fmt: skip

    def remove(self, service: str) -> None:
        """Remove a service and its containers."""
        with suppress(NotThereError), self._connection.client() as client:
            client.remove_service(service)

    def secrets(self, label: str) -> dict[str, str]:
        """Return the ids of the secrets with a label, by name."""
        with self._connection.client() as client:
            return {row["Spec"]["Name"]: row["ID"] for row in client.secrets(filters={"label": label})}

    def create_secret(self, name: str, content: str, labels: Mapping[str, str]) -> str:
        """Create a secret and return its id."""
        with self._connection.client() as client:
            return str(client.create_secret(name, content.encode(), labels=dict(labels))["ID"])

    def remove_secret(self, secret: str) -> None:
        """Remove a secret that no service uses."""
        with suppress(NotThereError), self._connection.client() as client:
            client.remove_secret(secret)

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create an overlay network unless it exists: a service cannot join an engine's bridge network."""
        with suppress(NameTakenError), self._connection.client() as client:
            if not client.networks(filters={"name": f"^{name}$", "scope": "swarm"}):
                client.create_network(name, driver="overlay", scope="swarm", labels=dict(labels), check_duplicate=True)


def _template(spec: ServiceSpec) -> Any:
    references = [SecretReference(id_, name, filename) for name, (id_, filename) in sorted(spec.secrets.items())]
    container = ContainerSpec(
        spec.image, args=list(spec.command), env=dict(spec.environment), labels=dict(spec.labels), init=True, read_only=True,
        cap_drop=["ALL"], mounts=[_tmp()], secrets=references, healthcheck=Healthcheck(test=["NONE"]),
        stop_grace_period=spec.stop_seconds * _SECOND,
    )  # fmt: skip
    return TaskTemplate(
        container,
        resources=Resources(cpu_limit=int(spec.cpus * _SECOND), mem_limit=spec.memory_bytes),
        restart_policy=RestartPolicy(condition=spec.restart, delay=_RESTART_AFTER * _SECOND),
        placement=list(spec.constraints) or None,
        log_driver=DriverConfig("json-file", {"max-size": LOG_SIZE, "max-file": LOG_FILES}),
        networks=[spec.network],
    )


def _tmp() -> Any:
    mount = Mount(target="/tmp", source=None, type="tmpfs")  # noqa: S108 (in the container, whose own it is)
    mount["TmpfsOptions"] = {"SizeBytes": TMP_BYTES}
    return mount


def _service(row: Mapping[str, Any]) -> Service:
    spec = row["Spec"]
    replicas = ((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas") or 0
    return Service(row["ID"], spec["Name"], int(row["Version"]["Index"]), spec.get("Labels") or {}, int(replicas))


def _task(row: Mapping[str, Any]) -> ServiceTask:
    status = row.get("Status") or {}
    container = status.get("ContainerStatus") or {}
    return ServiceTask(
        id=row["ID"],
        slot=int(row.get("Slot") or 0),
        swarm_node=row.get("NodeID", ""),
        state=status.get("State", ""),
        desired_state=row.get("DesiredState", ""),
        container=container.get("ContainerID", ""),
        exit_code=container.get("ExitCode"),
        error=status.get("Err", ""),
        created_at=moment(row.get("CreatedAt")),
        changed_at=moment(status.get("Timestamp")),
    )
