"""`/api/v1/workflows`: workflows with their progress, one as a graph, and cancelling what is left of it."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Self
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import BaseModel, Field

from tasks_app.api.task_schemas import CancelAnswer, CancelOne, RetryAnswer
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Origin
from tasks_app.workflows.chords import run_body
from tasks_app.workflows.folding import PLANNED, status_of_node
from tasks_app.workflows.graph import Graph, Kind, Node, graph_of
from tasks_app.workflows.listing import COUNTED, Listed, WorkflowFilter
from tasks_app.workflows.members import Members, members, top_of
from tasks_app.workflows.outline import Outline, outline
from tasks_app.workflows.status import WorkflowStatus
from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, Caller, Shows, audit_details, authorize, known_caller
from zenith_site.common.openapi import link_header, problem_responses
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_worker.wire import states

router = Router(tags=["workflows"])


class WorkflowAnswer(BaseModel):
    """A workflow and its progress."""

    workflow_id: UUID = Field(description="The key of its first task, or of its group if no task sent that.")
    name: str = Field(description="The name of its first task.")
    application: str
    status: WorkflowStatus
    created_at: datetime
    total: int = Field(description=f"Number of its tasks that were sent; of a large workflow, {COUNTED:,} are counted.")
    finished: int = Field(description="Number of tasks that have ended, with any outcome.")
    by_status: dict[states.Status, int] = Field(description="Number of tasks by status; a status without tasks is left out.")

    @classmethod
    def of(cls, listed: Listed) -> Self:
        """Return the response for a workflow in a list."""
        return cls.model_construct(
            workflow_id=listed.id, name=listed.name, application=listed.application, status=listed.status,
            created_at=listed.created_at, total=listed.total, finished=listed.finished, by_status=dict(listed.counts),
        )  # fmt: skip


class PartAnswer(BaseModel):
    """A part of a workflow."""

    key: str = Field(description="Its key in this answer; of a task that was sent, that of its row.")
    task_id: str | None = Field(description="Celery's id; null for a part that is not sent yet.")
    name: str
    status: str = Field(description="The task's status, or `PLANNED` for a part that is not sent yet.")
    group: str | None = Field(description="The key of the group that it is a part of.")
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None

    @classmethod
    def of(cls, node: Node) -> Self:
        """Return the response for a part."""
        member = node.member
        return cls.model_construct(
            key=node.key, task_id=member.celery_id if member else None, name=node.name, status=status_of_node(node),
            group=node.group or None, started_at=member.started_at if member else None,
            finished_at=member.finished_at if member else None, error=(member.error or None) if member else None,
        )  # fmt: skip


class EdgeAnswer(BaseModel):
    """One part leads to another."""

    before: str = Field(description="The key of the part that leads to the other.")
    after: str
    kind: Kind = Field(
        description="`next`: a later step of a chain; `join`: the body of a chord; `callback`; `sends`: the body sends it;"
        " `replaced`: sent in place of the body's result; `replay`: run again."
    )


class WorkflowDetailAnswer(WorkflowAnswer):
    """A workflow as a graph."""

    planned: int = Field(description="Number of parts that are known and not sent yet.")
    finished_at: datetime | None = Field(description="When its last task ended; null while any task is open.")
    parts: list[PartAnswer]
    edges: list[EdgeAnswer]
    critical_path: list[str] = Field(description="The keys of the parts on the path whose tasks ran longest, in order.")
    critical_seconds: float = Field(description="How long the bodies of those tasks ran.")
    complete: bool = Field(
        description="False if what follows some tasks is not known (their messages were not told, are not JSON, or too long), or"
        " if the workflow is too large to be read whole."
    )

    @classmethod
    def of_graph(cls, read: Members, graph: Graph, figures: Outline) -> Self:
        """Return the response for a workflow."""
        by_status = _statuses(figures.counts)
        return cls.model_construct(
            workflow_id=read.workflow.id, name=figures.name, application=read.application.name, status=figures.status,
            created_at=figures.created_at, total=sum(by_status.values()), finished=figures.finished, by_status=by_status,
            planned=figures.planned, finished_at=figures.finished_at, parts=list(map(PartAnswer.of, graph.nodes.values())),
            edges=[EdgeAnswer.model_construct(before=edge.before, after=edge.after, kind=edge.kind) for edge in graph.edges],
            critical_path=list(figures.critical), critical_seconds=figures.critical_seconds,
            complete=not (graph.unknown or graph.more),
        )  # fmt: skip


def _statuses(counts: Mapping[str, int]) -> dict[states.Status, int]:
    return {states.Status(name): count for name, count in counts.items() if name != PLANNED}


@router.get(
    "", response=list[WorkflowAnswer], summary="List workflows, newest first", operation_id="list_workflows",
    openapi_extra=link_header(),
)  # fmt: skip
def list_workflows(request: HttpRequest, response: HttpResponse, query: Query[WorkflowFilter]) -> list[WorkflowAnswer]:
    """Return one page of workflows with their progress. The header `Link: <…>; rel="next"` points to the next page, if any.

    With `status`, a page may have fewer workflows than `limit` although others match: follow the links.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, WorkflowFilter)
    page = query.limited_to(caller.applications).page()
    link_next(request, response, page.following)
    return [WorkflowAnswer.of(listed) for listed in page.workflows]


@router.get(
    "/{workflow_id}", response=WorkflowDetailAnswer, summary="Show one workflow as a graph", operation_id="show_workflow",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show_workflow(request: HttpRequest, workflow_id: str) -> WorkflowDetailAnswer:
    """Return the workflow's parts, those that are planned too, and what leads to what. The key of any of its tasks will do."""
    read = _read(workflow_id, authorize(request, VIEW, Shows.FILTERED))
    graph = graph_of(read)
    return WorkflowDetailAnswer.of_graph(read, graph, outline(graph, read.workflow.created_at, timezone.now()))


@router.post(
    "/{workflow_id}/cancel", response=CancelAnswer, summary="Cancel the open tasks of a workflow", operation_id="cancel_workflow",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GATEWAY_TIMEOUT),
    auth=requires(OPERATE, Shows.FILTERED),
)  # fmt: skip
def cancel_workflow(request: HttpRequest, workflow_id: str, body: CancelOne | None = None) -> CancelAnswer:
    """Cancel every open task of the workflow. Running tasks finish, and what is planned after them is sent, unless `force` kills
    them."""
    caller = known_caller(request)
    read = _read(workflow_id, caller)
    ids = read.open_ids()
    result = cancel(ids, by=caller.name, force=bool(body and body.force))
    audit_details(request, workflow=str(read.workflow.id), revoked=result.revoked, running=result.running)
    return CancelAnswer.of(result, matched=len(ids))


@router.post(
    "/{workflow_id}/bodies/{task_id}/run", response={201: RetryAnswer}, summary="Run the body of a chord after a failure",
    operation_id="run_chord_body", openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    auth=requires(OPERATE, Shows.FILTERED),
)  # fmt: skip
def run_chord_body(request: HttpRequest, workflow_id: str, task_id: UUID) -> Status[RetryAnswer]:
    """Send the failed body of a chord, by the key of its row, with the stored results of its parts.

    All of them must have succeeded by now: run those that failed again first.
    """
    caller = known_caller(request)
    read = _read(workflow_id, caller)
    new = run_body(graph_of(read), task_id, Origin.of(caller, "api"))
    audit_details(request, workflow=str(read.workflow.id), task=str(task_id), new=str(new))
    return Status(HTTPStatus.CREATED, RetryAnswer(task_id=new, replay_of=task_id))


def _read(workflow_id: str, caller: Caller) -> Members:
    try:
        read = members(top_of(UUID(workflow_id)), caller.applications)
    except ValueError:
        read = None
    if read is None:
        raise Http404(f"There is no workflow {workflow_id[:100]!r}.")
    return read
