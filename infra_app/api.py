"""The original's infrastructure paths. There are no Docker hosts yet: each answers 503 and says so."""

from typing import Annotated, Any, Final

from django.http import HttpRequest
from ninja import Query, Router, Status
from pydantic import BaseModel, ConfigDict, Field

from infra_app.errors import NoHostOnlineError
from zenith_site.common.callers import INFRA, VIEW, caller_of

router = Router(tags=["infrastructure"])

#: Seconds that a deploy may be waited for.
MAX_WAIT: Final = 60


class DeployRequest(BaseModel):
    """The worker node to start; everything has a default."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"name": "reports-1", "queues": ["reports"], "concurrency": 4, "memory_mb": 512}]},
    )

    name: str | None = Field(default=None, min_length=1, max_length=63, pattern="^[a-z0-9][a-z0-9-]*$")
    region: str | None = Field(default=None, min_length=1, max_length=63)
    queues: list[Annotated[str, Field(min_length=1, max_length=100)]] | None = Field(default=None, min_length=1, max_length=100)
    concurrency: int | None = Field(default=None, ge=1, le=1000, description="Tasks that it runs at once.")
    host: str | None = Field(default=None, min_length=1, max_length=255, description="By default the host with most room.")
    replicas: int = Field(default=1, ge=1, le=100)
    memory_mb: int | None = Field(default=None, ge=64, le=1_048_576)
    cpus: float | None = Field(default=None, gt=0, le=1024)


class DeployAnswer(BaseModel):
    """The node that will run."""

    status: str = "SUCCESS"
    node_id: str
    message: str


class DeployQuery(BaseModel):
    """How long to wait."""

    model_config = ConfigDict(extra="forbid")

    wait: int = Field(default=0, ge=0, le=MAX_WAIT, description="Seconds to wait for it to run.")


class Thing(BaseModel):
    """What a Docker host holds: a container, image, volume or network."""

    id: str
    name: str
    type: str
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
    ports: list[dict[str, Any]]
    host: str


@router.post("/deploy", response={202: DeployAnswer}, summary="Deploy a worker node", operation_id="deploy")
def deploy(request: HttpRequest, chosen: Query[DeployQuery], body: DeployRequest | None = None) -> Status[DeployAnswer]:
    """Start a container with a worker on a Docker host; 503 when no Docker host is online."""
    caller_of(request, INFRA)
    raise NoHostOnlineError


@router.get("/api/inventory", response=list[Thing], summary="List what the Docker hosts hold", operation_id="inventory")
def inventory(request: HttpRequest) -> list[Thing]:
    """Return containers, images, volumes and networks; 503 when no Docker host is online."""
    caller_of(request, VIEW)
    raise NoHostOnlineError


@router.get("/api/network", response=list[Container], summary="List containers and their addresses", operation_id="network")
def network(request: HttpRequest) -> list[Container]:
    """Return the containers of the Docker hosts; 503 when no Docker host is online."""
    caller_of(request, VIEW)
    raise NoHostOnlineError
