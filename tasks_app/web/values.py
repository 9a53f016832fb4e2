"""One value of a task on a page of its own, and as a file: what the task's page shows only the beginning of."""

import json
from uuid import UUID

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from tasks_app.models import Task
from tasks_app.queries.values import TEXTS, whole
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.downloads import text_file
from zenith_site.common.pages import render_page
from zenith_site.common.previews import SHOWN_ALONE


@require_safe
def task_value(request: HttpRequest, task_id: UUID, value: str) -> HttpResponseBase:
    """Arguments, a result, an error or a traceback: as a page, or with `?download` as a file; without secrets."""
    authorize(request, VIEW)
    task = get_object_or_404(Task, id=task_id)
    try:
        found = whole(task, value)
    except LookupError:
        raise Http404(f"This task has no {value[:50]!r}.") from None
    is_text = value.partition("-")[0] in TEXTS
    text = str(found) if is_text else json.dumps(found, indent=2, ensure_ascii=False)
    if "download" in request.GET:
        return text_file(f"{task.id}-{value}", "txt" if is_text else "json", text)
    context = {
        "task": task, "value": value, "title": value.partition("-")[0].capitalize(),
        # Masked as a whole, it can be cut anywhere.
        "text": text[:SHOWN_ALONE], "size": len(text), "cut": len(text) > SHOWN_ALONE, "shown": SHOWN_ALONE,
    }  # fmt: skip
    return render_page(request, "tasks/value.html", context, fragments=["tasks/_value.html"])
