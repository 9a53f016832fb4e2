"""The diagnosis of an application: what is wrong, what proves it and what mends it; and what beat schedules."""

from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from tasks_app.diagnosis.findings import Finding, Severity, Subject
from tasks_app.diagnosis.gather import diagnosis_of
from tasks_app.models import Application
from tasks_app.search.parameters import MAX_TEXT
from tasks_app.web.links import tasks_with, worker_url
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.jsonsafe import storable_text
from zenith_site.common.pages import render_page
from zenith_worker.wire.applications import NATIVE_NAME

#: The class of the colour that a severity has.
_COLOURS: Final = {Severity.ERROR: "failure", Severity.WARNING: "retry", Severity.NOTICE: "queued"}


@require_safe
def diagnosis(request: HttpRequest, name: str) -> HttpResponse:
    """Say what is wrong with an application now; with `queue`, only what explains why the tasks of that queue wait."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    application = Application.named(name) if caller.sees(name) else None
    if application is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    queue = storable_text(request.GET.get("queue", "")[:MAX_TEXT])
    found = diagnosis_of(application)
    findings = found.of_queue(queue) if queue else found.findings
    context = {
        "application": application,
        "queue": queue,
        "found": found,
        "findings": [(finding, _COLOURS[finding.severity], _link(finding, application)) for finding in findings],
        "others": len(found.findings) - len(findings),
        "schedules": found.facts.schedules or (),
    }
    return render_page(request, "diagnosis/diagnosis.html", context, fragments=["diagnosis/_diagnosis.html"])


def _link(finding: Finding, application: Application) -> str:
    """Return the address of the page about a finding's subject; empty if there is none."""
    match finding.subject:
        case Subject.WORKER:
            return worker_url(finding.name, application.name)
        case Subject.QUEUE if application.name == NATIVE_NAME:
            return reverse("tasks:queue", args=[finding.name])
        case Subject.QUEUE:
            return tasks_with("queue", finding.name, application.name)
        case Subject.TASK:
            return tasks_with("name", finding.name, application.name)
        case _:
            return ""
