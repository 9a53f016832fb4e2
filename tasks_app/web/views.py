"""The pages' views: load, authorise, one call, answer."""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe
from django_celery_results.models import TaskResult

from tasks_app.callers import DISPATCH, VIEW, caller_of, note
from tasks_app.dispatch import limits
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.errors import RateLimitedError
from tasks_app.insight.arguments import shown_arguments
from tasks_app.insight.attempts import attempts_of
from tasks_app.insight.lineage import lineage
from tasks_app.insight.timeline import timeline
from tasks_app.masking import mask, mask_text
from tasks_app.models import Task
from tasks_app.web.context import overview_context
from tasks_app.web.pages import answer, live, render_page


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
    """One task: what it was sent with, what happened, and what came of it."""
    caller_of(request, VIEW)
    found = get_object_or_404(Task, pk=task_id)
    outcome = TaskResult.objects.filter(task_id=str(task_id)).first()
    result = outcome.result if outcome and outcome.status == "SUCCESS" else None
    context = {
        "task": found,
        "events": timeline(found),
        "attempts": attempts_of(found),
        "lineage": lineage(found),
        "arguments_json": _pretty(shown_arguments(found)._asdict()),
        "result_json": _pretty(mask(json.loads(result))) if result else "",
        "traceback": mask_text(outcome.traceback or "") if outcome else "",
    }
    return render_page(request, "tasks/task.html", context, fragments=["tasks/_task.html"])


def come_again(error: RateLimitedError) -> str:
    """Say when tasks may be sent again; where scripts run, static/js/page.js counts the seconds down."""
    return format_html(
        "You may send tasks {} times in {} s. Nothing was sent now; you can go on in "
        '<span data-countdown aria-live="off">{}</span> s.',
        error.limit, error.window, error.retry_after,
    )  # fmt: skip


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
