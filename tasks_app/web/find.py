"""What the palette finds on the server (static/js/palette.js): tasks, task names, queues, workers and applications."""

from typing import Final

from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from tasks_app.queries.find import Named, find
from tasks_app.web.links import overview_url, queue_url, tasks_with, worker_url
from tasks_app.web.templatetags.zenith import short_id
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.masking import mask_text
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import Status

#: Characters of a text that is searched for; a shorter one finds nothing.
LEAST: Final = 2
LONGEST: Final = 200


@require_safe
def found(request: HttpRequest) -> JsonResponse:
    """Return what a text finds, as entries with a kind, a name, a detail and a URL; a few of each kind."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    text = request.GET.get("q", "")[:LONGEST].replace("\0", "").strip()
    return JsonResponse({"found": _entries(text, caller.applications) if len(text) >= LEAST else []})


def _entries(text: str, visible: frozenset[str] | None) -> list[dict[str, str]]:
    result = find(text, visible)
    return [
        *(
            _entry(
                "task", f"{task.name or '(unknown)'} {short_id(task.celery_id)}", str(Status(task.status).label),
                reverse("tasks:task", args=[task.id]),
            )
            for task in result.tasks
        ),
        *(_entry("name", item.name, _of("task name", item), _tasks("name", item)) for item in result.task_names),
        *(_entry("queue", item.name, _of("queue", item), _queue(item)) for item in result.queues),
        *(_entry("worker", item.name, _of("worker", item), worker_url(item.name, item.application)) for item in result.workers),
        *(_entry("application", name, "application", overview_url(name)) for name in result.applications),
    ]  # fmt: skip


def _entry(kind: str, name: str, detail: str, url: str) -> dict[str, str]:
    return {"kind": kind, "name": mask_text(name), "detail": detail, "url": url}


def _of(what: str, item: Named) -> str:
    return what if item.application in ("", NATIVE_NAME) else f"{what}, {item.application}"


def _tasks(key: str, item: Named) -> str:
    return tasks_with(key, item.name, "" if item.application == NATIVE_NAME else item.application)


def _queue(item: Named) -> str:
    return queue_url(item.name, item.application) if item.application else _tasks("queue", item)
