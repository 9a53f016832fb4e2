"""The applications: what each is, its workers, and its newest tasks."""

from collections.abc import Iterable
from typing import Any, Final

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from tasks_app import catalog
from tasks_app.queries import applications as queries
from tasks_app.queries.applications import COUNTED_TO, ApplicationView
from tasks_app.queries.tasks import TaskFilter
from tasks_app.queries.workers import workers_of
from tasks_app.web.cursor import with_event_cursor
from zenith_site.common.callers import OPERATE, VIEW, Shows, authorize
from zenith_site.common.pages import render_page
from zenith_worker.wire.states import Status

#: The newest tasks that an application's page shows.
NEWEST: Final = 10
#: The tasks of its catalogue that an application's page lists; the Dispatch page has all.
OFFERED: Final = 50
#: The statuses in the list, in which an operator looks for trouble and for load.
LISTED: Final = (Status.STARTED, Status.FAILURE, Status.SUCCESS)


@require_safe
@with_event_cursor
def application_list(request: HttpRequest) -> HttpResponseBase:
    """List Zenith's own application and those that report to it, or say how to attach the first."""
    views = queries.applications(authorize(request, VIEW, Shows.FILTERED).applications)
    context = {
        "applications": [(view, _figures(view, LISTED)) for view in views],
        "attached": sum(not view.application.is_native for view in views),
        "listed": LISTED,
    }
    return render_page(request, "applications/applications.html", context, fragments=["applications/_applications.html"])


@require_safe
@with_event_cursor
def application(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show one application."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    view = queries.find(name) if caller.sees(name) else None
    if view is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    offered = list(catalog.offered(view.application).values())
    context = {
        "view": view,
        "application": view.application,
        "figures": _figures(view, view.by_status or ()),
        "workers": workers_of(view.application),
        "offered": offered[:OFFERED],
        "offered_total": len(offered),
        "live": None if view.application.is_native else catalog.catalogues_of(view.application.pk),
        "tasks": TaskFilter(application=name, limit=NEWEST).page(bare=True, unmasked=caller.may(OPERATE)).tasks,
    }
    return render_page(request, "applications/application.html", context, fragments=["applications/_application.html"])


def _figures(view: ApplicationView, statuses: Iterable[Status]) -> list[dict[str, Any]]:
    """Return the numbers of tasks in these statuses; None where they are not counted."""
    counted = view.by_status
    numbers = {status: None if counted is None else counted.get(status, 0) for status in statuses}
    return [
        {"status": status, "number": number, "capped": number is not None and number >= COUNTED_TO}
        for status, number in numbers.items()
    ]
