"""The site, with one page more: every building block of docs/pages.md, for the browser tests.

tests/gallery_settings.py leads here. Pages that do not exist yet are given an empty one, so that the
navigation can be seen whole.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.defaultfilters import pluralize
from django.urls import include, path
from django.views.decorators.http import require_POST, require_safe

from tasks_app.models import Task
from tasks_app.web import urls as tasks_urls
from tasks_app.web.cursor import with_event_cursor
from zenith_site.common.callers import OPERATE, VIEW, authorize
from zenith_site.common.live_updates import refresh_pages
from zenith_site.common.pages import answer, confirm, render_page
from zenith_site.urls import urlpatterns as site_urls

SIZE = 8


@require_safe
@with_event_cursor
def gallery(request: HttpRequest) -> HttpResponse:
    """A list with tabs, filters, a selection and a pager; and both kinds of emptiness."""
    authorize(request, VIEW)
    tasks = Task.objects.defer("args", "kwargs").order_by("name" if request.GET.get("sort") == "name" else "-id")
    if status := request.GET.get("status"):
        tasks = tasks.filter(status=status)
    if text := request.GET.get("q"):
        tasks = tasks.filter(name__contains=text)
    context = {
        "tasks": list(tasks[:SIZE]),
        "matching": tasks.count(),
        "q": text or "",
        "tabs": _tabs(status),
        "filtered": bool(status or text),
    }
    return render_page(request, "gallery/gallery.html", context, fragments=["gallery/_list.html"])


@require_safe
def confirm_cancel(request: HttpRequest) -> HttpResponse:
    """Ask before the selected tasks are cancelled."""
    authorize(request, OPERATE)
    ids = request.GET.getlist("id")
    if not ids:
        messages.warning(request, "No task was selected.")
        return answer(request, "gallery")
    tasks = f"{len(ids)} task{pluralize(len(ids))}"
    return confirm(
        request, title="Cancel tasks?", sentence=f"{tasks} will not run. Tasks that are already running will finish.",
        action="/gallery/cancel/", button=f"Cancel {tasks}", back="gallery", fields=[("id", id_) for id_ in ids],
    )  # fmt: skip


@require_POST
def cancel(request: HttpRequest) -> HttpResponse:
    """Say what would have been done."""
    authorize(request, OPERATE)
    messages.success(request, f"{len(request.POST.getlist('id'))} tasks cancelled.")
    refresh_pages("gallery")
    return answer(request, "gallery")


@require_safe
def no_nodes(request: HttpRequest) -> HttpResponse:
    """The Nodes page of an installation without any Docker host."""
    authorize(request, VIEW)
    context = {"hosts": [], "groups": [], "online": 0, "tabs": [], "filtered": False}
    return render_page(request, "nodes/nodes.html", context, fragments=["nodes/_hosts.html", "nodes/_nodes.html"])


def empty(request: HttpRequest) -> HttpResponse:
    """A page that is yet to be made."""
    template = engines["django"].from_string('{% extends "base.html" %}{% block main %}<h1>To come</h1>{% endblock %}')
    return HttpResponse(template.render({}, request))


def broken(request: HttpRequest) -> HttpResponse:
    """A page with a bug."""
    raise RuntimeError("on purpose")


def _tabs(status: str | None) -> list[dict[str, Any]]:
    named = [("All", ""), ("Succeeded", "SUCCESS"), ("Failed", "FAILURE"), ("Queued", "QUEUED")]
    return [
        {
            "label": label, "url": f"?status={value}" if value else "?", "current": (status or "") == value, "status": value,
            "count": (Task.objects.filter(status=value) if value else Task.objects).count(),
        }
        for label, value in named
    ]  # fmt: skip


def _missing(known: list[Any], names: list[str]) -> list[Any]:
    existing = {pattern.name for pattern in known if hasattr(pattern, "name")}
    return [path("tasks/" if name == "list" else f"{name}/", empty, name=name) for name in names if name not in existing]


TASK_PAGES = ["list", "dispatch", "dead_letters", "analytics", "workers", "queues", "events"]
tasks_pages = [*tasks_urls.urlpatterns, *_missing(tasks_urls.urlpatterns, TASK_PAGES)]

urlpatterns = [
    path("gallery/", gallery, name="gallery"),
    path("gallery/confirm/", confirm_cancel, name="gallery_confirm"),
    path("gallery/cancel/", cancel, name="gallery_cancel"),
    path("gallery/no-nodes/", no_nodes, name="gallery_no_nodes"),
    path("broken/", broken, name="broken"),
    path("", include((tasks_pages, "tasks"))),
    *_missing(site_urls, ["settings"]),
    *site_urls,
]
handler500 = "zenith_site.problems.server_error"
