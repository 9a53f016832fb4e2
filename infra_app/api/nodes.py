"""`/api/v1/nodes`: single nodes: their state, resource usage, logs and actions."""

from uuid import UUID

from django.http import Http404, HttpRequest
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from infra_app import logs, nodes
from infra_app.api.original import MAX_WAIT
from infra_app.api.schemas import (
    ActAnswer,
    ActRequest,
    EventAnswer,
    LinesAnswer,
    NodeAnswer,
    NodeBrief,
    RefusedAnswer,
    SampleAnswer,
    Verb,
)
from infra_app.models import Node
from infra_app.states import NodeStatus
from infra_app.waiting import wait_for
from zenith_site.auth.api import requires
from zenith_site.common.callers import INFRA, VIEW, audit_details, authorize, known_caller
from zenith_site.common.errors import InvalidQueryError, Problem, StateConflictError
from zenith_site.common.paging import refuse_unknown

router = Router(tags=["nodes"])

_MOST = 500


class NodeFilter(BaseModel):
    """Filters of the list of nodes."""

    model_config = ConfigDict(extra="forbid")

    status: NodeStatus | None = Field(default=None, description="By default, all nodes that are not removed.")
    group: str = Field(default="", max_length=50, pattern="^[ -~]*$", description="The name of the group.")
    host: str = Field(default="", max_length=63, pattern="^[ -~]*$")
    limit: int = Field(default=100, ge=1, le=_MOST)


class EventQuery(BaseModel):
    """How many entries of a node's history."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)


class LogQuery(BaseModel):
    """Which lines of a log."""

    model_config = ConfigDict(extra="forbid")

    after: str = Field(
        default="", max_length=41, description="Only lines after the line with this id; if empty, the newest lines."
    )
    limit: int = Field(default=1000, ge=1, le=10_000)


class WaitQuery(BaseModel):
    """How long to wait."""

    model_config = ConfigDict(extra="forbid")

    wait: int = Field(
        default=0, ge=0, le=MAX_WAIT, description="Maximum seconds to wait until the node reaches its desired state."
    )


@router.get("", response=list[NodeAnswer], summary="List nodes", operation_id="list_nodes")
def list_nodes(request: HttpRequest, filters: Query[NodeFilter]) -> list[NodeAnswer]:
    """Return nodes, ordered by name. A node whose host is unreachable is `UNKNOWN`; it may still be running tasks."""
    authorize(request, VIEW)
    refuse_unknown(request, NodeFilter)
    rows = Node.objects.select_related("group", "host").order_by("name", "id")
    if filters.group:
        rows = rows.filter(group__name=filters.group)
    if filters.host:
        rows = rows.filter(host__name=filters.host)
    if filters.status is not NodeStatus.REMOVED:
        rows = rows.exclude(status=NodeStatus.REMOVED)
    matching = (node for node in rows if filters.status in (None, node.shown_status))
    return [NodeAnswer.of(node) for node, _ in zip(matching, range(filters.limit), strict=False)]


@router.post("/act", response=ActAnswer, summary="Act on many nodes", operation_id="act_on_nodes", auth=requires(INFRA))
def act_on_many(request: HttpRequest, body: ActRequest) -> ActAnswer:
    """Drain, stop, start, restart or remove nodes. Nodes that do not allow the action are listed with the reason."""
    caller = known_caller(request)
    outcome = nodes.act(body.verb, body.ids, caller.name)
    audit_details(request, verb=body.verb, nodes=len(outcome.done))
    known_ids = {node.id for node in outcome.done} | {item.node.id for item in outcome.refused}
    refused = [RefusedAnswer(id=item.node.id, reason=item.reason) for item in outcome.refused]
    refused += [RefusedAnswer(id=id_, reason="There is no such node.") for id_ in dict.fromkeys(body.ids) if id_ not in known_ids]
    return ActAnswer.model_construct(done=[NodeBrief.of(node) for node in outcome.done], refused=refused)


@router.get("/{node_id}", response=NodeAnswer, summary="Show one node", operation_id="show_node")
def show_node(request: HttpRequest, node_id: str) -> NodeAnswer:
    """Return a node's desired state, and what its host's agent observed."""
    authorize(request, VIEW)
    return NodeAnswer.of(_get_node(node_id))


@router.get("/{node_id}/events", response=list[EventAnswer], summary="List a node's events", operation_id="list_node_events")
def list_events(request: HttpRequest, node_id: str, query: Query[EventQuery]) -> list[EventAnswer]:
    """Return what was requested of a node and what happened to it, newest first."""
    authorize(request, VIEW)
    return [EventAnswer.of(event) for event in _get_node(node_id).events.all()[: query.limit]]


@router.get(
    "/{node_id}/samples", response=list[SampleAnswer], summary="List a node's resource usage", operation_id="list_node_samples"
)
def list_samples(request: HttpRequest, node_id: str, query: Query[EventQuery]) -> list[SampleAnswer]:
    """Return a node's CPU, memory and network usage in the last day, newest first."""
    authorize(request, VIEW)
    return [SampleAnswer.of(sample) for sample in _get_node(node_id).samples.order_by("-at")[: query.limit]]


@router.get("/{node_id}/logs", response=LinesAnswer, summary="Read a node's log", operation_id="read_node_log")
def read_log(request: HttpRequest, node_id: str, query: Query[LogQuery]) -> LinesAnswer:
    """Return lines, oldest first. To follow the log, ask again with `after`. The first answer may be short.

    If the node's container has exited, its stored last lines are returned.
    """
    authorize(request, VIEW)
    node = _get_node(node_id)
    try:
        return LinesAnswer.of(logs.read(node, query.after, query.limit))
    except ValueError as error:
        raise InvalidQueryError(Problem("after", str(error))) from None


@router.post(
    "/{node_id}/{verb}", response=NodeAnswer, summary="Act on one node", operation_id="act_on_node", auth=requires(INFRA)
)
def act_on_one(request: HttpRequest, node_id: str, verb: Verb, query: Query[WaitQuery]) -> NodeAnswer:
    """Drain, stop, start, restart or remove a node; 409 if that is not possible now.

    Answers once the desired state is stored; the agent of the node's host then acts on it.
    """
    caller = known_caller(request)
    node = _get_node(node_id)
    outcome = nodes.act(verb, [node.id], caller.name)
    if outcome.refused:
        raise StateConflictError(outcome.refused[0].reason)
    audit_details(request, node=node.name, verb=verb)
    if query.wait:
        wait_for(Node.objects.filter(pk=node.pk), query.wait)
    return NodeAnswer.of(_get_node(node_id))


def _get_node(node_id: str) -> Node:
    try:
        return Node.objects.select_related("group", "host").get(pk=UUID(node_id))
    except (ValueError, Node.DoesNotExist):
        raise Http404(f"There is no node {node_id[:100]!r}.") from None
