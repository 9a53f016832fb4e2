"""The pages of workflows: the list, one with its graph, and cancelling what is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe
from pydantic import ValidationError

from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.dispatch.create import Origin
from tasks_app.errors import CommandWithdrawnError, WorkerSilentError
from tasks_app.models.application import Visible
from tasks_app.queries.application_names import several_names
from tasks_app.web.application_switch import narrowed
from tasks_app.web.cursor import with_event_cursor
from tasks_app.web.workflow_drawing import Row, drawing, part_url, rows, rows_of_parts
from tasks_app.workflows.chords import continuable, run_body
from tasks_app.workflows.folding import Folded, folded
from tasks_app.workflows.graph import graph_of
from tasks_app.workflows.listing import WorkflowFilter
from tasks_app.workflows.members import Members, members, top_of
from tasks_app.workflows.outline import outline
from tasks_app.workflows.status import WorkflowStatus
from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, InvalidQueryError, StateConflictError
from zenith_site.common.pages import answer, confirm, render_page

FILTERS: Final = ("application", "status")
#: Rows of the table of parts.
ROWS: Final = 100
#: Other roots within a workflow whose events an open page follows at once; it reads all again every few seconds.
_MOST_FOLLOWED: Final = 20


@require_safe
@narrowed()
@with_event_cursor
def workflow_list(request: HttpRequest) -> HttpResponseBase:
    """List workflows, newest first, with their progress."""
    visible = authorize(request, VIEW, Shows.FILTERED).applications
    workflow_filter, problem = _parse_query(request)
    page = workflow_filter.limited_to(visible).page()
    filters = {name: request.GET[name] for name in FILTERS if request.GET.get(name)}
    next_url = f"?{page.following.query_string()}" if page.following else ""
    context = {
        "workflows": page.workflows,
        "problem": problem,
        "filters": filters,
        "filtered": bool(filters),
        "tabs": _tabs(workflow_filter),
        "applications": several_names(visible),
        "searched_to": page.searched_to,
        # Without any filter it would be the application that is chosen in the sidebar.
        "first_url": "?" + urlencode(filters or {"application": ""}) if workflow_filter.cursor else "",
        "next_url": next_url,
    }
    return render_page(request, "workflows/workflows.html", context, fragments=["workflows/_workflows.html"])


@require_safe
@with_event_cursor
def workflow(request: HttpRequest, workflow_id: UUID) -> HttpResponseBase:
    """Show one workflow as a graph and as a table; `part` names a box whose parts the table lists."""
    visible = authorize(request, VIEW, Shows.FILTERED).applications
    read = _read(workflow_id, visible)
    if read.workflow.id != workflow_id:
        return redirect("tasks:workflow", read.workflow.id)
    now = timezone.now()
    graph = graph_of(read)
    boxes = folded(graph)
    summary = outline(graph, read.workflow.created_at, now)
    context = {
        "workflow": read.workflow,
        "application": read.application,
        "graph": graph,
        "outline": summary,
        "critical": [graph.nodes[key] for key in summary.critical],
        "drawing": drawing(boxes, summary.critical, now),
        "open": len(read.open_ids()),
        "if_fails": ", ".join(graph.if_fails),
        "followed": _followed(read),
        "bodies": [graph.nodes[str(id_)].member for id_ in continuable(graph)],
        "parts": _parts(request, boxes),
    }
    return render_page(request, "workflows/workflow.html", context, fragments=["workflows/_workflow.html"])


@require_http_methods(["GET", "HEAD", "POST"])
def cancel_workflow(request: HttpRequest, workflow_id: UUID) -> HttpResponseBase:
    """Confirm that the open tasks of a workflow are cancelled (GET), and cancel them (POST); `force` stops those that run."""
    caller = authorize(request, OPERATE, Shows.FILTERED)
    read = _read(workflow_id, caller.applications)
    page = reverse("tasks:workflow", args=[read.workflow.id])
    force = bool(request.POST.get("force") or request.GET.get("force"))
    ids = read.open_ids()
    if request.method == "POST":
        try:
            result = cancel(ids, by=caller.name, force=force)
        except (StateConflictError, CommandWithdrawnError, WorkerSilentError) as error:
            messages.warning(request, str(error))
        else:
            audit_details(request, workflow=str(read.workflow.id), revoked=result.revoked, running=result.running, force=force)
            messages.success(request, _told(result, force=force))
        return answer(request, page)
    tasks = f"{len(ids):,} task{'' if len(ids) == 1 else 's'}"
    what = (
        "Those that wait will not run, and those that run are stopped."
        if force
        else "Those that wait will not run; those that run finish, and what is planned after them is sent."
    )
    return confirm(
        request,
        title="Stop this workflow?" if force else "Cancel the rest of this workflow?",
        sentence=f"{tasks} of it {'has' if len(ids) == 1 else 'have'} not ended. {what}",
        action=reverse("tasks:cancel_workflow", args=[read.workflow.id]),
        button=f"{'Stop' if force else 'Cancel'} {tasks}",
        back=page,
        fields=[("force", "1")] if force else [],
    )


@require_http_methods(["GET", "HEAD", "POST"])
def run_chord_body(request: HttpRequest, workflow_id: UUID, task_id: UUID) -> HttpResponseBase:
    """Confirm that a chord's body is sent with the results of its parts (GET), and send it (POST)."""
    caller = authorize(request, OPERATE, Shows.FILTERED)
    read = _read(workflow_id, caller.applications)
    page = reverse("tasks:workflow", args=[read.workflow.id])
    if request.method == "POST":
        try:
            new = run_body(graph_of(read), task_id, Origin.of(caller, "page"))
        except (StateConflictError, InvalidInputError) as error:
            messages.warning(request, str(error))
        else:
            audit_details(request, workflow=str(read.workflow.id), task=str(task_id), new=str(new))
            messages.success(request, "The body of the chord was sent.")
        return answer(request, page)
    return confirm(
        request, title="Run the body of the chord?",
        sentence="1 task is sent: the body, with the stored results of all parts.",
        action=reverse("tasks:run_chord_body", args=[read.workflow.id, task_id]), button="Run the body", back=page, danger=False,
    )  # fmt: skip


def _read(workflow_id: UUID, visible: Visible) -> Members:
    """Return the workflow that an id means: its own, or that of one of its tasks. Raises Http404."""
    read = members(top_of(workflow_id), visible)
    if read is None:
        raise Http404("There is no such workflow.")
    return read


def _told(result: Cancelled, *, force: bool) -> str:
    running = f" {result.running:,} {'being stopped' if force else 'still running'}." if result.running else ""
    passed_on = f" {result.requested:,} passed on to their application." if result.requested else ""
    return " ".join([f"{result.revoked:,} cancelled.{running}{passed_on}", *result.problems])


@dataclass(frozen=True)
class Parts:
    """The table of parts: its rows, the box whose parts they are, if not all, and the next page."""

    rows: Sequence[Row]
    total: int
    of: str
    first_url: str
    next_url: str


def _parts(request: HttpRequest, boxes: Folded) -> Parts:
    now = timezone.now()
    part, after = request.GET.get("part", ""), request.GET.get("after", "")
    box = boxes.box_of.get(part)
    keys = [node.key for node in box.nodes] if box else [item.key for item in boxes.boxes]
    start = keys.index(after) + 1 if after in keys else 0
    end = start + ROWS
    shown = rows_of_parts(box.nodes[start:end], now) if box else rows(boxes, boxes.boxes[start:end], now)
    more = {"part": part} if box else {}
    return Parts(
        shown, len(keys), box.name if box else "",
        first_url=(part_url(part) if box else "?") if start else "",
        next_url="?" + urlencode({**more, "after": keys[end - 1]}) if len(keys) > end else "",
    )  # fmt: skip


def _followed(read: Members) -> list[UUID]:
    """Return the roots whose tasks' events the page follows."""
    roots = {task.root_id for task in read.tasks if task.root_id} - {read.workflow.id}
    return [read.workflow.id, *sorted(roots)[:_MOST_FOLLOWED]]


def _parse_query(request: HttpRequest) -> tuple[WorkflowFilter, str]:
    values = {name: request.GET[name] for name in (*FILTERS, "cursor") if request.GET.get(name)}
    try:
        return WorkflowFilter(**values), ""  # type: ignore[arg-type]
    except (ValidationError, InvalidQueryError):
        return WorkflowFilter(), "This filter is invalid, so all workflows are shown."


def _tabs(workflow_filter: WorkflowFilter) -> list[dict[str, Any]]:
    def url(status: str) -> str:
        kept = {"application": workflow_filter.application, "status": status}
        return "?" + (urlencode({name: value for name, value in kept.items() if value}) or "application=")

    choices = [("All", "", ""), *((status.label, status.value, status.shown_as.value) for status in WorkflowStatus)]
    return [
        {
            "label": label, "url": url(value), "count": None, "status": shown_as,
            "current": value == (workflow_filter.status or ""),
        }
        for label, value, shown_as in choices
    ]  # fmt: skip
