"""The pages' views: load, authorise, one call, answer."""

import json
import shlex
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe
from django_celery_results.models import TaskResult

from tasks_app import catalog
from tasks_app.dispatch import limits
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.errors import RateLimitedError
from tasks_app.insight.arguments import shown_arguments
from tasks_app.insight.detail import detail
from tasks_app.models import Task
from tasks_app.states import Status
from tasks_app.web.context import overview_context
from tasks_app.web.cursor import live
from zenith_site.common.callers import DISPATCH, VIEW, caller_of, note
from zenith_site.common.masking import mask_text
from zenith_site.common.pages import answer, render_page


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """How things stand, live."""
    caller_of(request, VIEW)
    return render(request, "overview/overview.html", overview_context())


@require_POST
def run(request: HttpRequest) -> HttpResponse:
    """Dispatch ten sample tasks."""
    caller = caller_of(request, DISPATCH)
    try:
        limits.count_trigger(caller)
    except RateLimitedError as error:
        messages.info(request, come_again(error))
        return answer(request, "tasks:overview", status=429, headers={"Retry-After": str(error.retry_after)})
    done = dispatch(Dispatch(), Origin(source="page", sent_by=caller.name, user_id=caller.user.pk))
    note(request, tasks=len(done.ids), batch=str(done.batch_id))
    messages.success(request, f"{len(done.ids)} tasks sent.")
    return answer(request, "tasks:overview")


@require_safe
@live
def task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """One task: what it was sent with, why it is where it is, what happened, and what came of it."""
    caller_of(request, VIEW)
    found = detail(str(task_id))
    if found is None:
        raise Http404("There is no such task.")
    row = found.found.task
    outcome = TaskResult.objects.filter(task_id=str(task_id)).first()
    context = {
        "task": row,
        "why": found.why,
        "events": found.events,
        "attempts": found.attempts,
        "lineage": found.lineage,
        "arguments_json": _pretty(shown_arguments(row)._asdict()),
        "result_json": _pretty(found.found.result) if row.status == Status.SUCCESS and found.found.result is not None else "",
        "traceback": mask_text(outcome.traceback or "") if outcome else "",
        "curl": _curl(request, row),
    }
    return render_page(request, "tasks/task.html", context, fragments=["tasks/_task.html"])


def _curl(request: HttpRequest, row: Task) -> str:
    """Return the command that dispatches the same task; secrets are hidden in it."""
    args, kwargs = shown_arguments(row)
    entry = catalog.entries().get(row.name)
    named = {**dict(zip(entry.positional_names if entry else [], args, strict=False)), **kwargs}
    body = json.dumps({"task": row.name, "kwargs": named, "queue": row.queue}, ensure_ascii=False)
    url = request.build_absolute_uri(reverse("api:trigger"))
    return (
        f'curl {shlex.quote(url)} \\\n  -H "Authorization: Bearer $ZENITH_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )


def come_again(error: RateLimitedError) -> str:
    """Say when tasks may be sent again; where scripts run, static/js/page.js counts the seconds down."""
    return format_html(
        "You may send tasks {} times in {} s. Nothing was sent now; you can go on in "
        '<span data-countdown aria-live="off">{}</span> s.',
        error.limit, error.window, error.retry_after,
    )  # fmt: skip


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
