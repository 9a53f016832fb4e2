"""`/api/v1/groups`: node groups: their size, what their nodes run, and autoscaling."""

from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from ninja import Router
from pydantic import BaseModel, ConfigDict, Field

from infra_app import autoscaler, nodes
from infra_app.api.schemas import (
    ActAnswer,
    Body,
    Concurrency,
    Cpus,
    GroupAnswer,
    Image,
    Memory,
    NodeBrief,
    Queues,
    Replicas,
    Variables,
)
from infra_app.autoscaler import MAX_SECONDS, AutoscaleLimits
from infra_app.errors import UnknownGroupError
from infra_app.models import NodeGroup
from infra_app.states import NodeStatus
from infra_app.validation import MAX_REPLICAS
from zenith_site.auth.api import requires
from zenith_site.common.callers import INFRA, VIEW, audit_details, authorize, known_caller

router = Router(tags=["nodes"])


class ScaleRequest(Body):
    """The new number of nodes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"replicas": 3}]})

    replicas: Replicas


class ScaleAnswer(BaseModel):
    """The result of scaling."""

    group: GroupAnswer
    before: int
    added: list[NodeBrief]
    leaving: list[NodeBrief] = Field(description="The idlest nodes: each is drained and then removed.")


class ChangeRequest(Body):
    """What the group's nodes run. Members that are omitted stay unchanged. The nodes' containers are replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": "zenith:latest", "concurrency": 8}]})

    image: Image | None = None
    queues: Queues | None = None
    concurrency: Concurrency | None = None
    memory_mb: Memory | None = None
    cpus: Cpus | None = None
    environment: Variables | None = Field(default=None, description="The complete set: variables that are omitted are removed.")
    secrets: Variables | None = Field(default=None, description="The complete set: secrets that are omitted are removed.")


class AutoscaleRequest(Body):
    """The limits of autoscaling, and the target time in which the queue should drain."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scale_queue": "reports", "min_replicas": 1, "max_replicas": 8, "target_seconds": 60}]}
    )

    autoscale: bool = Field(default=True, description="false turns autoscaling off.")
    dry_run: bool = Field(default=False, description="Record decisions without changing the number of nodes.")
    scale_queue: str = Field(
        default="",
        description="The queue to follow; if empty, the first of the group's queues.",
        json_schema_extra={"maxLength": 100, "pattern": "^[!-+\\--~]*$"},
    )
    min_replicas: int = Field(default=1, json_schema_extra={"minimum": 0, "maximum": MAX_REPLICAS})
    max_replicas: int = Field(json_schema_extra={"minimum": 1, "maximum": MAX_REPLICAS})
    target_seconds: int = Field(default=60, json_schema_extra={"minimum": 1, "maximum": MAX_SECONDS})
    cooldown_seconds: int = Field(default=120, json_schema_extra={"minimum": 0, "maximum": MAX_SECONDS})


@router.get("", response=list[GroupAnswer], summary="List groups", operation_id="list_groups")
def list_groups(request: HttpRequest) -> list[GroupAnswer]:
    """Return the groups that are not removed, ordered by name."""
    authorize(request, VIEW)
    return [_answer(group) for group in _active_groups()]


@router.get("/{group_id}", response=GroupAnswer, summary="Show one group", operation_id="show_group")
def show_group(request: HttpRequest, group_id: str) -> GroupAnswer:
    """Return a group; 404 if it was removed."""
    authorize(request, VIEW)
    return _get_group(group_id)


@router.patch(
    "/{group_id}", response=GroupAnswer, summary="Change what a group runs", operation_id="change_group", auth=requires(INFRA)
)
def change_group(request: HttpRequest, group_id: str, body: ChangeRequest) -> GroupAnswer:
    """Change the image, queues, limits or environment. The containers of the group's nodes are replaced."""
    caller = known_caller(request)
    changes: dict[str, Any] = body.model_dump(exclude_none=True)
    if "queues" in changes:
        changes["queues"] = tuple(changes["queues"])
    group = nodes.change(_parse_id(group_id), caller.name, **changes)
    audit_details(request, group=group.name, changed=sorted(changes))
    return _get_group(group_id)


@router.delete("/{group_id}", response=ActAnswer, summary="Remove a group", operation_id="remove_group", auth=requires(INFRA))
def remove_group(request: HttpRequest, group_id: str) -> ActAnswer:
    """Remove the group and all its nodes. Running tasks return to their queue."""
    caller = known_caller(request)
    removed = nodes.remove_group(_parse_id(group_id), caller.name)
    audit_details(request, group=str(group_id), nodes=len(removed))
    return ActAnswer.model_construct(done=[NodeBrief.of(node) for node in removed], refused=[])


@router.post("/{group_id}/scale", response=ScaleAnswer, summary="Scale a group", operation_id="scale_group", auth=requires(INFRA))
def scale_group(request: HttpRequest, group_id: str, body: ScaleRequest) -> ScaleAnswer:
    """Change the number of nodes. If autoscaling is on, it continues from the new number."""
    caller = known_caller(request)
    scaled = nodes.scale(_parse_id(group_id), body.replicas, caller.name)
    audit_details(request, group=scaled.group.name, before=scaled.before, replicas=body.replicas)
    return ScaleAnswer.model_construct(
        group=_get_group(group_id), before=scaled.before, added=[NodeBrief.of(node) for node in scaled.added],
        leaving=[NodeBrief.of(node) for node in scaled.leaving],
    )  # fmt: skip


@router.put(
    "/{group_id}/autoscale",
    response=GroupAnswer,
    summary="Autoscale a group",
    operation_id="autoscale_group",
    auth=requires(INFRA),
)
def autoscale_group(request: HttpRequest, group_id: str, body: AutoscaleRequest) -> GroupAnswer:
    """Let the group's size follow a queue. The group's `decision` gives the latest decision and its reason."""
    group = autoscaler.configure(_parse_id(group_id), AutoscaleLimits(**body.model_dump()))
    audit_details(request, group=group.name, autoscale=group.autoscale, dry_run=group.dry_run, most=group.max_replicas)
    return _get_group(group_id)


def _active_groups() -> QuerySet[NodeGroup]:
    ready = Count("nodes", filter=Q(nodes__status=NodeStatus.READY))
    return NodeGroup.objects.filter(removed_at=None).select_related("host").annotate(ready=ready).order_by("name")


def _get_group(group_id: str) -> GroupAnswer:
    group = _active_groups().filter(pk=_parse_id(group_id)).first()
    if group is None:
        raise UnknownGroupError(group_id)
    return _answer(group)


def _parse_id(group_id: str) -> UUID:
    try:
        return UUID(group_id)
    except ValueError:
        raise UnknownGroupError(group_id) from None


def _answer(group: NodeGroup) -> GroupAnswer:
    return GroupAnswer.of(group, group.ready)  # type: ignore[attr-defined]
