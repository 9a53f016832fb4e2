"""One task: its arguments, status, timeline and result; and changing it while it is scheduled."""

import json
import shlex
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from tasks_app import worker_nodes
from tasks_app.diagnosis.waiting import explained
from tasks_app.dispatch.applications import of_task
from tasks_app.dispatch.create import MAX_PRIORITY
from tasks_app.dispatch.schedule import Changes, edit, reschedule
from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID, of_visible
from tasks_app.queries.arguments import Arguments, positional_names, preview
from tasks_app.queries.attempts import AttemptView
from tasks_app.queries.detail import detail
from tasks_app.queries.tasks import named
from tasks_app.queries.values import by_name, sizes
from tasks_app.web.cursor import with_event_cursor
from tasks_app.web.dispatch_forms import MomentField
from tasks_app.web.state_diagram import path_in_words, state_diagrams
from tasks_app.web.task_logs import is_watched, log_card
from tasks_app.web.timeline_drawing import timeline_drawing
from tasks_app.web.traceback_view import TracebackView, parse_traceback
from tasks_app.worker_nodes import NodeSeen
from zenith_site.common.callers import DISPATCH, OPERATE, VIEW, Caller, Shows, audit_details, authorize
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import ListField, ObjectField, add_problems
from zenith_site.common.pages import answer, ask, confirm, render_page
from zenith_site.common.previews import EDITED, ROW
from zenith_worker.wire.queue_names import MAX_NAME
from zenith_worker.wire.states import Status

#: Different tracebacks that a task's page shows, newest first; for others it shows links.
MOST_TRACEBACKS: Final = 10
NOT_SCHEDULED = "This task is no longer scheduled, so nothing was changed."


@require_safe
@with_event_cursor
def task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Show one task: its arguments, its status and the reason for it, its timeline, and its result."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    task_detail = detail(str(task_id), visible=caller.applications)
    if task_detail is None:
        raise Http404("There is no such task.")
    item = task_detail.task_with_result
    row, runs, cut = item.task, _runs(task_detail.attempts), item.cut
    arguments = by_name(row, *item.arguments[:2])
    arguments_cut = bool({"args", "kwargs"} & cut.keys())
    is_native = row.application_id == NATIVE_ID
    watched = is_watched(row)
    may_copy = bool(row.name) and caller.may(DISPATCH) and not watched
    context = {
        "task": row,
        "native": is_native,
        "watched": watched,
        "may_copy": may_copy,
        "has_more": may_copy or (caller.may(OPERATE) and _has_more(row, watched)),
        "application": item.application if item.among_several else "",
        "why": explained(row, task_detail.why),
        "events": task_detail.events,
        "runs": runs,
        "newest": next((run for run in runs if run.on_top), None),
        "lineage": task_detail.lineage,
        "path": path_in_words(task_detail.course),
        "diagrams": state_diagrams(task_detail.course),
        "timeline": timeline_drawing(task_detail.course, row.not_before),
        "error": item.error,
        "progress": (progress := item.progress),
        "progress_meta": "" if progress is None or progress.meta is None else _pretty(progress.meta),
        "cut": {*cut, *(["arguments"] if arguments_cut else [])},
        "sizes": sizes(row) if arguments_cut or "result" in cut else {},
        "row_shown": ROW,
        "arguments_json": _pretty(arguments) if arguments else "",
        "opaque": hasattr(row, "message") and bool(row.message.extras.get("opaque")),
        "result_json": _pretty(item.result) if row.status == Status.SUCCESS and item.result is not None else "",
        "curl": "" if arguments_cut else _curl(request, row, item.arguments),
        "nodes": _nodes(row, task_detail.attempts) if is_native else [],
        **log_card(row),
    }
    return render_page(request, "tasks/task.html", context, fragments=["tasks/_task.html"])


def _has_more(row: Task, is_watched: bool) -> bool:
    """Return whether more can be done with a task than its page's first button does."""
    return row.status in (Status.SCHEDULED, Status.STARTED) or (row.status == Status.FAILURE and not is_watched)


class EditForm(forms.Form):
    """Changes to a scheduled task."""

    not_before = MomentField(label="Not before", help_text="In UTC. A time in the past sends the task now.")
    queue = forms.CharField(max_length=MAX_NAME, label="Queue")
    priority = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_PRIORITY, label="Priority", help_text="0 goes first."
    )
    args = ListField(required=False, label="Positional arguments", help_text="A JSON list.")
    kwargs = ObjectField(required=False, label="Keyword arguments", help_text="A JSON object.")


@require_safe
def by_id(request: HttpRequest, celery_id: str) -> HttpResponse:
    """Redirect from a Celery id, which may be any text, to the task's page."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    key = named(celery_id, caller.applications).values_list("id", flat=True).first()
    if key is None:
        raise Http404("There is no such task.")
    return redirect("tasks:task", key)


@require_http_methods(["GET", "HEAD", "POST"])
def edit_task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Ask for changes to a scheduled task (GET), and make them (POST)."""
    caller = authorize(request, OPERATE, Shows.FILTERED)
    row = _scheduled(task_id, caller)
    page = reverse("tasks:task", args=[task_id])
    if row is None:
        messages.warning(request, NOT_SCHEDULED)
        return answer(request, page)
    arguments = preview(row, EDITED)
    form = EditForm(request.POST or None, initial=_initial(row, arguments))
    for name in arguments.cut:  # too large to edit here
        del form.fields[name]
    if row.application_id != NATIVE_ID:
        form.fields["queue"].required = False
        form.fields["queue"].help_text = "Leave empty for the queue that its application's routes choose."
    if request.method == "POST" and form.is_valid():
        try:
            edited = edit(task_id, Changes(**{name: form.cleaned_data[name] for name in form.changed_data}), by=caller.name)
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            audit_details(request, task=str(task_id), changed=form.changed_data)
            if edited:
                messages.success(request, "Task changed." if form.changed_data else "Nothing was changed.")
            else:
                messages.warning(request, NOT_SCHEDULED)
            return answer(request, page)
    return ask(
        request, form, title="Change this task?",
        sentence="It can be changed until it is due."
        + (" Its arguments are too large to be changed here." if arguments.cut else ""),
        action=reverse("tasks:edit", args=[task_id]), button="Change", back=page,
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def send_now(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Confirm that a scheduled task is sent now (GET), and send it (POST)."""
    caller = authorize(request, OPERATE, Shows.FILTERED)
    page = reverse("tasks:task", args=[task_id])
    row = _scheduled(task_id, caller)
    if request.method == "POST":
        if reschedule(task_id, timezone.now(), by=caller.name):
            audit_details(request, task=str(task_id))
            messages.success(request, "The task is due now.")
        else:
            messages.warning(request, NOT_SCHEDULED)
        return answer(request, page)
    if row is None:
        messages.warning(request, NOT_SCHEDULED)
        return answer(request, page)
    return confirm(
        request, title="Send this task now?", sentence="It is sent within a second.",
        action=reverse("tasks:send_now", args=[task_id]), button="Send now", back=page, danger=False,
    )  # fmt: skip


def _scheduled(task_id: UUID, caller: Caller) -> Task | None:
    """Return the task, or None if it can no longer be changed. Raises Http404 if the caller may see no such task."""
    row = Task.objects.filter(of_visible(caller.applications), id=task_id).first()
    if row is None:
        raise Http404("There is no such task.")
    return row if row.status == Status.SCHEDULED and row.cancel_requested_at is None else None


def _initial(row: Task, arguments: Arguments) -> dict[str, Any]:
    due = row.not_before and row.not_before.astimezone(UTC).replace(microsecond=0)
    return {"not_before": due, "queue": row.queue, "priority": row.priority, "args": arguments.args, "kwargs": arguments.kwargs}


@dataclass(frozen=True, slots=True)
class AttemptCard:
    """A run with its traceback, or with the newer attempt that has the same one.

    `on_top`: the run has a card of its own. `left_out`: the page shows only a link to its traceback.
    """

    run: AttemptView
    traceback: TracebackView | None
    same_as: int | None = None
    on_top: bool = False
    left_out: bool = False

    @property
    def key(self) -> str:
        """Return the prefix of the ids of the run's elements."""
        return f"attempt-{self.run.attempt}-{self.run.delivery}"


def _runs(attempts: list[AttemptView]) -> list[AttemptCard]:
    """Return the runs, newest first, each different traceback once: a retried task mostly fails in the same way."""
    attempt_of: dict[str, int] = {}  # by traceback, the newest attempt that has it
    runs = []
    for attempt in attempts:
        if same_as := attempt_of.get(attempt.traceback):
            runs.append(AttemptCard(attempt, None, same_as))
            continue
        left_out = len(attempt_of) >= MOST_TRACEBACKS and bool(attempt.traceback)
        traceback = None if left_out else parse_traceback(attempt.traceback)
        runs.append(AttemptCard(attempt, traceback, on_top=traceback is not None and not attempt_of, left_out=left_out))
        if traceback or left_out:
            attempt_of[attempt.traceback] = attempt.attempt
    return runs


@dataclass(frozen=True)
class NodeOfTask:
    """A node whose worker had the task; `died`: its container ended by itself after the task was sent."""

    seen: NodeSeen
    died: bool


def _nodes(row: Task, runs: list[AttemptView]) -> list[NodeOfTask]:
    """Return the nodes whose workers have or had the task, the newest run's first."""
    workers = dict.fromkeys(worker for worker in (row.worker, *(run.worker for run in runs)) if worker)
    node_of = worker_nodes.of_workers(workers)
    nodes = [node_of[worker] for worker in workers if worker in node_of]
    return [NodeOfTask(node, node.died_at is not None and node.died_at > row.created_at) for node in nodes]


def _curl(request: HttpRequest, row: Task, arguments: Arguments) -> str:
    """Return a curl command that dispatches the same task, with secrets masked.

    It is empty for a task of another application if the names of its arguments are not known.
    """
    application = of_task(row)
    names = positional_names(row)
    if not application.is_native and len(names) < len(arguments.args):
        return ""
    kwargs = {**dict(zip(names, arguments.args, strict=False)), **arguments.kwargs}
    where = {"queue": row.queue} if application.is_native else {"application": application.name}
    body = json.dumps({"task": row.name, "kwargs": kwargs, **where}, ensure_ascii=False)
    url = request.build_absolute_uri(reverse("api:trigger"))
    return (
        f'curl {shlex.quote(url)} \\\n  -H "Authorization: Bearer $ZENITH_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
