"""One value of a task in full, as a page and as a file; the task's own page shows only its beginning."""

import json
from uuid import UUID

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from tasks_app.models import Task
from tasks_app.models.application import of_visible
from tasks_app.queries.values import TEXTS, whole
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.downloads import text_file
from zenith_site.common.pages import render_page
from zenith_site.common.previews import SHOWN_ALONE


@require_safe
def task_value(request: HttpRequest, task_id: UUID, value: str) -> HttpResponseBase:
    """Show arguments, a result, an error or a traceback as a page, or with `?download` as a file; secrets are masked."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    task = get_object_or_404(Task, of_visible(caller.applications), id=task_id)
    try:
        whole_value = whole(task, value)
    except LookupError:
        raise Http404(f"This task has no {value[:50]!r}.") from None
    is_text = value.partition("-")[0] in TEXTS
    text = str(whole_value) if is_text else json.dumps(whole_value, indent=2, ensure_ascii=False)
    if "download" in request.GET:
        return text_file(f"{task.id}-{value}", "txt" if is_text else "json", text)
    context = {
        "task": task, "value": value, "title": value.partition("-")[0].capitalize(),
        # Secrets were masked in the whole text, so it can be cut anywhere.
        "text": text[:SHOWN_ALONE], "size": len(text), "cut": len(text) > SHOWN_ALONE, "shown": SHOWN_ALONE,
    }  # fmt: skip
    return render_page(request, "tasks/value.html", context, fragments=["tasks/_value.html"])
