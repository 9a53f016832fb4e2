"""The applications: what each is, its workers, and its newest tasks."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from tasks_app import catalog
from tasks_app.models import Application
from tasks_app.queries import applications as queries
from tasks_app.queries import guards, silence
from tasks_app.queries.applications import ApplicationView
from tasks_app.queries.status_counts import COUNTED_TO
from tasks_app.queries.tasks import TaskFilter
from tasks_app.queries.workers import workers_of
from tasks_app.web.attaching import DIFFERENCES
from tasks_app.web.context import application_context
from tasks_app.web.cursor import with_event_cursor
from zenith_site.common.callers import ADMINISTER, OPERATE, VIEW, Shows, authorize
from zenith_site.common.pages import render_page
from zenith_worker.wire.states import Status

#: The newest tasks that an application's page shows.
NEWEST: Final = 10
#: The tasks of its catalogue that an application's page lists; the Dispatch page has all.
OFFERED: Final = 50
#: The newest gaps that a watched application's page shows.
GAPS: Final = 5
#: The counters of an application's page: tasks that have not ended.
COUNTERS_OF: Final = {
    "Running": (Status.STARTED,),
    "Waiting": (Status.PENDING, Status.RECEIVED, Status.QUEUED),
    "Scheduled": (Status.SCHEDULED,),
    "Retrying": (Status.RETRY,),
}
COUNTERS: Final = frozenset(status for statuses in COUNTERS_OF.values() for status in statuses)
FRAGMENTS: Final = [
    "applications/_counters.html", "overview/_head.html", "overview/_succeeded.html", "overview/_outcomes.html",
    "overview/_letters.html", "applications/_application.html",
]  # fmt: skip
#: The statuses in the list, in which an operator looks for trouble and for load.
LISTED: Final = (Status.STARTED, Status.FAILURE, Status.SUCCESS)


@require_safe
@with_event_cursor
def application_list(request: HttpRequest) -> HttpResponseBase:
    """List Zenith's own application and others, or say how to watch or attach the first."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    views = queries.applications(caller.applications)
    context = {
        "applications": [(view, _figures(view, LISTED)) for view in views],
        "attached": sum(not (view.application.is_native or view.application.is_watched) for view in views),
        "watched": sum(view.application.is_watched for view in views),
        "listed": LISTED,
        "may_administer": caller.may(ADMINISTER),
    }
    return render_page(request, "applications/applications.html", context, fragments=["applications/_applications.html"])


@require_safe
@with_event_cursor
def application(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show one application: its overview."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    view = queries.find(name) if caller.sees(name) else None
    if view is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    counts = queries.status_counts_in(name) if view.by_status is None else view.by_status
    offered = list(catalog.offered(view.application).values())
    newest = TaskFilter(application=name, limit=NEWEST).page(lines=True, unmasked=caller.may(OPERATE)).tasks
    context = {
        "view": view,
        "application": view.application,
        "counters": counters(counts, name),
        "figures": _figures(view, [status for status in view.by_status or () if status not in COUNTERS]),
        "workers": workers_of(view.application),
        "guard_lines": guards.lines(view.guards) if view.guards else [],
        "offered": offered[:OFFERED],
        "offered_total": len(offered),
        "gaps": _gaps(view.application),
        "no_workers": silence.no_workers(view) if view.application.is_watched else None,
        "attaching": DIFFERENCES,
        "no_tasks": silence.no_tasks(view) if view.application.is_watched else None,
        "may_administer": caller.may(ADMINISTER),
        "live": None if view.application.is_native else catalog.catalogues_of(view.application.pk),
        "tasks": newest,
        "unknown": silence.unknown(view, [row.task for row in newest]) if view.application.is_watched else [],
    }
    context |= application_context(request, name)
    return render_page(request, "applications/application.html", context, fragments=FRAGMENTS)


def _gaps(application: Application) -> list[dict[str, Any]]:
    """Return when nobody listened to a watched application, newest first."""
    gaps = application.gaps if isinstance(application.gaps, list) else []
    return [
        {"start": datetime.fromtimestamp(start, UTC), "seconds": end - start, "reason": reason}
        for start, end, reason in gaps[:GAPS]
    ]


def counters(counts: Mapping[Status, int | None], name: str) -> list[dict[str, Any]]:
    """Return the counters of open tasks; without a number where Zenith's own application has too many to count."""
    found = []
    for label, statuses in COUNTERS_OF.items():
        numbers = [counts.get(status, 0) for status in statuses]
        known = [number for number in numbers if number is not None]
        terms = [*(f"status:{status.value}" for status in statuses), f"application:{name}"]
        found.append(
            {
                "label": label, "status": statuses[-1], "query": urlencode({"q": " ".join(terms)}, safe=":"),
                "number": sum(known) if len(known) == len(numbers) else None,
                "capped": any(number >= COUNTED_TO for number in known),
            }
        )  # fmt: skip
    return found


def _figures(view: ApplicationView, statuses: Iterable[Status]) -> list[dict[str, Any]]:
    """Return the numbers of tasks in these statuses; None where they are not counted."""
    counted = view.by_status
    numbers = {status: None if counted is None else counted.get(status, 0) for status in statuses}
    return [
        {"status": status, "number": number, "capped": number is not None and number >= COUNTED_TO}
        for status, number in numbers.items()
    ]
