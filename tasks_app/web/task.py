"""One task: what it was sent with, where it is and why, the course it took, and changing it while it is still held back."""

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
from tasks_app.dispatch.create import MAX_PRIORITY, MAX_QUEUE
from tasks_app.dispatch.schedule import Changes, edit, reschedule
from tasks_app.models import Task
from tasks_app.queries.arguments import Arguments, positional_names, preview
from tasks_app.queries.attempts import AttemptView
from tasks_app.queries.detail import detail
from tasks_app.queries.tasks import named
from tasks_app.queries.values import by_name, sizes
from tasks_app.web.cursor import with_event_cursor
from tasks_app.web.dispatch import MomentField
from tasks_app.web.state_diagram import path_in_words, state_diagrams
from tasks_app.web.timeline_drawing import timeline_drawing
from tasks_app.web.traceback_view import TracebackView, read
from tasks_app.worker_nodes import NodeSeen
from zenith_site.common.callers import OPERATE, VIEW, audit_details, authorize
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import ListField, ObjectField, add_problems
from zenith_site.common.pages import answer, ask, confirm, render_page
from zenith_site.common.previews import EDITED, ROW
from zenith_worker.wire.states import Status

#: Different tracebacks that a task's page shows, the newest ones; of others it shows links.
MOST_TRACEBACKS: Final = 10
SENT_ALREADY = "It is not scheduled any more, so nothing was changed."


@require_safe
@with_event_cursor
def task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """One task: what it was sent with, why it is where it is, what happened, and what came of it."""
    authorize(request, VIEW)
    found = detail(str(task_id))
    if found is None:
        raise Http404("There is no such task.")
    row, runs, cut = found.found.task, _runs(found.attempts), found.found.cut
    arguments = by_name(row.name, *found.found.arguments[:2])
    arguments_cut = bool({"args", "kwargs"} & cut.keys())
    context = {
        "task": row,
        "why": found.why,
        "events": found.events,
        "runs": runs,
        "newest": next((run for run in runs if run.on_top), None),
        "lineage": found.lineage,
        "path": path_in_words(found.course),
        "diagrams": state_diagrams(found.course),
        "timeline": timeline_drawing(found.course, row.not_before),
        "error": found.found.error,
        "cut": {*cut, *(["arguments"] if arguments_cut else [])},
        "sizes": sizes(row) if arguments_cut or "result" in cut else {},
        "row_shown": ROW,
        "arguments_json": _pretty(arguments) if arguments else "",
        "opaque": hasattr(row, "message") and bool(row.message.extras.get("opaque")),
        "result_json": _pretty(found.found.result) if row.status == Status.SUCCESS and found.found.result is not None else "",
        "curl": "" if arguments_cut else _curl(request, row, found.found.arguments),
        "nodes": _nodes(row, found.attempts),
    }
    return render_page(request, "tasks/task.html", context, fragments=["tasks/_task.html"])


class EditForm(forms.Form):
    """What can be changed of a task that is held back."""

    not_before = MomentField(label="Not before", help_text="In UTC. A time that is past sends it at once.")
    queue = forms.CharField(max_length=MAX_QUEUE, label="Queue")
    priority = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_PRIORITY, label="Priority", help_text="0 goes first."
    )
    args = ListField(required=False, label="Arguments by place", help_text="A JSON list.")
    kwargs = ObjectField(required=False, label="Arguments by name", help_text="A JSON object.")


@require_safe
def by_id(request: HttpRequest, celery_id: str) -> HttpResponse:
    """Lead to the page of the task that Celery knows by an id, which may be any text."""
    authorize(request, VIEW)
    key = named(celery_id).values_list("id", flat=True).first()
    if key is None:
        raise Http404("There is no such task.")
    return redirect("tasks:task", key)


@require_http_methods(["GET", "HEAD", "POST"])
def edit_task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Ask what to change of a scheduled task (GET), and change it (POST)."""
    caller = authorize(request, OPERATE)
    row = _scheduled(task_id)
    page = reverse("tasks:task", args=[task_id])
    if row is None:
        messages.warning(request, SENT_ALREADY)
        return answer(request, page)
    arguments = preview(row, EDITED)
    form = EditForm(request.POST or None, initial=_initial(row, arguments))
    for name in arguments.cut:  # these stay as they are
        del form.fields[name]
    if request.method == "POST" and form.is_valid():
        try:
            done = edit(task_id, Changes(**{name: form.cleaned_data[name] for name in form.changed_data}), by=caller.name)
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            audit_details(request, task=str(task_id), changed=form.changed_data)
            if done:
                messages.success(request, "Changed." if form.changed_data else "It stays as it is.")
            else:
                messages.warning(request, SENT_ALREADY)
            return answer(request, page)
    return ask(
        request, form, title="Change this task?",
        sentence="It is held back until it is due; until then it can be changed."
        + (" Its arguments are too large to be changed here." if arguments.cut else ""),
        action=reverse("tasks:edit", args=[task_id]), button="Change", back=page,
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def send_now(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Ask whether a scheduled task shall not wait any longer (GET), and send it (POST)."""
    caller = authorize(request, OPERATE)
    page = reverse("tasks:task", args=[task_id])
    if request.method == "POST":
        if reschedule(task_id, timezone.now(), by=caller.name):
            audit_details(request, task=str(task_id))
            messages.success(request, "It is due now.")
        else:
            messages.warning(request, SENT_ALREADY)
        return answer(request, page)
    if _scheduled(task_id) is None:
        messages.warning(request, SENT_ALREADY)
        return answer(request, page)
    return confirm(
        request, title="Send it now?", sentence="It is not held back any longer, and goes to its queue within a second.",
        action=reverse("tasks:send_now", args=[task_id]), button="Send now", back=page, danger=False,
    )  # fmt: skip


def _scheduled(task_id: UUID) -> Task | None:
    """Return the task where it can still be changed. Raises Http404 where there is no such task."""
    row = Task.objects.filter(id=task_id).first()
    if row is None:
        raise Http404("There is no such task.")
    return row if row.status == Status.SCHEDULED and row.cancel_requested_at is None else None


def _initial(row: Task, arguments: Arguments) -> dict[str, Any]:
    due = row.not_before and row.not_before.astimezone(UTC).replace(microsecond=0)
    return {"not_before": due, "queue": row.queue, "priority": row.priority, "args": arguments.args, "kwargs": arguments.kwargs}


@dataclass(frozen=True, slots=True)
class AttemptCard:
    """A run and its traceback, or in its place the newer attempt that has the same; `on_top`: it has a card of its own.

    `left_out`: it has one, of which the page shows nothing but a link.
    """

    run: AttemptView
    traceback: TracebackView | None
    same_as: int | None = None
    on_top: bool = False
    left_out: bool = False

    @property
    def key(self) -> str:
        """What ids of the run's elements begin with."""
        return f"attempt-{self.run.attempt}-{self.run.delivery}"


def _runs(attempts: list[AttemptView]) -> list[AttemptCard]:
    """Return the runs, the newest first, each traceback but once: a task that is tried again mostly fails in the same way."""
    seen: dict[str, int] = {}
    runs = []
    for attempt in attempts:
        if same_as := seen.get(attempt.traceback):
            runs.append(AttemptCard(attempt, None, same_as))
            continue
        left_out = len(seen) >= MOST_TRACEBACKS and bool(attempt.traceback)
        traceback = None if left_out else read(attempt.traceback)
        runs.append(AttemptCard(attempt, traceback, on_top=traceback is not None and not seen, left_out=left_out))
        if traceback or left_out:
            seen[attempt.traceback] = attempt.attempt
    return runs


@dataclass(frozen=True)
class NodeOfTask:
    """A node that had the task; `died`: its container ended by itself since the task was sent."""

    seen: NodeSeen
    died: bool


def _nodes(row: Task, runs: list[AttemptView]) -> list[NodeOfTask]:
    """Return the nodes that have or had the task, that of the newest run first."""
    workers = dict.fromkeys(worker for worker in (row.worker, *(run.worker for run in runs)) if worker)
    found = worker_nodes.of_workers(workers)
    seen = [found[worker] for worker in workers if worker in found]
    return [NodeOfTask(node, node.died_at is not None and node.died_at > row.created_at) for node in seen]


def _curl(request: HttpRequest, row: Task, arguments: Arguments) -> str:
    """Return the command that dispatches the same task; secrets are hidden in it."""
    kwargs = {**dict(zip(positional_names(row.name), arguments.args, strict=False)), **arguments.kwargs}
    body = json.dumps({"task": row.name, "kwargs": kwargs, "queue": row.queue}, ensure_ascii=False)
    url = request.build_absolute_uri(reverse("api:trigger"))
    return (
        f'curl {shlex.quote(url)} \\\n  -H "Authorization: Bearer $ZENITH_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
