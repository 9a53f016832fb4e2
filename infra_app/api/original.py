"""The original's infrastructure paths, in its response formats: deploy, inventory and network."""

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import BaseModel, ConfigDict, Field

from infra_app import inventory_snapshots, nodes
from infra_app.api.schemas import Container, DeployAnswer, DeployRequest, Thing
from infra_app.models import NodeGroup
from infra_app.waiting import wait_for
from zenith_site.auth.api import requires
from zenith_site.common.callers import INFRA, VIEW, audit_details, authorize, known_caller
from zenith_site.common.idempotency import IdempotencyKey, answer_once

router = Router(tags=["infrastructure"])

#: Longest time that a request may wait, in seconds.
MAX_WAIT: Final = 60


class DeployQuery(BaseModel):
    """How long to wait."""

    model_config = ConfigDict(extra="forbid")

    wait: int = Field(default=0, ge=0, le=MAX_WAIT, description="Maximum seconds to wait until all nodes are ready.")


@router.post("/deploy", response={202: DeployAnswer}, summary="Deploy worker nodes", operation_id="deploy", auth=requires(INFRA))
def deploy(
    request: HttpRequest,
    response: HttpResponse,
    query: Query[DeployQuery],
    body: DeployRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Start containers that each run a Celery worker of this project; 503 if no Docker host is online.

    Answers once the nodes are stored. A node that fits on no host waits for one, and `message` gives the reason.
    """
    caller = known_caller(request)
    deploy_request = body or DeployRequest()

    def act() -> DeployAnswer:
        group = nodes.deploy(deploy_request.to_deployment(), caller.name)
        audit_details(request, group=group.name, replicas=group.replicas, image=group.image)
        return DeployAnswer.of(group)

    answer = answer_once(request, response, caller, idempotency_key, deploy_request, act)
    if not query.wait:
        return Status(202, answer)
    group = NodeGroup.objects.get(pk=answer["group_id"] if isinstance(answer, dict) else answer.group_id)
    wait_for(group.nodes.all(), query.wait)
    return Status(202, DeployAnswer.of(group))


@router.get("/api/inventory", response=list[Thing], summary="List the resources on the Docker hosts", operation_id="inventory")
def inventory(request: HttpRequest) -> list[Thing]:
    """Return containers, images, volumes and networks from the latest snapshots; 503 if no host is online."""
    authorize(request, VIEW)
    return [
        Thing.model_construct(**vars(thing))
        for thing in inventory_snapshots.inventory_items(inventory_snapshots.snapshots_online())
    ]


@router.get("/api/network", response=list[Container], summary="List containers and their addresses", operation_id="network")
def network(request: HttpRequest) -> list[Container]:
    """Return the containers on the Docker hosts from the latest snapshots; 503 if no host is online."""
    authorize(request, VIEW)
    return [
        Container.model_construct(**vars(container))
        for container in inventory_snapshots.containers(inventory_snapshots.snapshots_online())
    ]
