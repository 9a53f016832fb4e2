"""The side panel that shows a task beside the list that it is in (static/js/peek.js)."""

import json
from typing import Final
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from tasks_app.diagnosis.waiting import explained
from tasks_app.dispatch.applications import of_task
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries.detail import detail
from tasks_app.queries.values import by_name
from tasks_app.web.traceback_view import parse_traceback
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.pages import render_page, wants_fragments
from zenith_worker.wire.states import Status

#: Characters of each value that the panel shows; the task's page shows more.
SHOWN: Final = 1_500


@require_safe
def peek(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Return what decides about a task, as a fragment for the open page's panel. Anything else is led to the task's page."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    task_detail = detail(str(task_id), SHOWN, caller.applications)
    if task_detail is None:
        raise Http404("There is no such task.")
    if not wants_fragments(request):
        return redirect("tasks:task", task_id)
    item = task_detail.task_with_result
    row = item.task
    arguments = by_name(row, *item.arguments[:2])
    newest = next((run for run in task_detail.attempts if run.traceback), None)
    context = {
        "task": row,
        "item": item,
        "application": item.application if item.among_several else "",
        "watched": row.application_id != NATIVE_ID and of_task(row).is_watched,
        "why": explained(row, task_detail.why),
        "arguments": _pretty(arguments) if arguments else "",
        "result": _pretty(item.result) if row.status == Status.SUCCESS and item.result is not None else "",
        "traceback": parse_traceback(newest.traceback) if newest else None,
    }
    return render_page(request, "tasks/_peek.html", context, fragments=["tasks/_peek.html"])


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
