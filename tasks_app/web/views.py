"""The Overview page, of all applications or of one, and its button that dispatches ten sample tasks."""

from http import HTTPStatus
from typing import Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Application
from tasks_app.queries.application_names import first_name
from tasks_app.queries.applications import status_counts_in
from tasks_app.queries.tasks import TaskFilter
from tasks_app.queries.workers import workers_of
from tasks_app.web.application_switch import narrowed
from tasks_app.web.applications import counters
from tasks_app.web.context import STREAM_LENGTH, application_context, outcomes_context, overview_context
from tasks_app.web.links import overview_url
from zenith_site.common import limits
from zenith_site.common.callers import DISPATCH, OPERATE, VIEW, Caller, Shows, audit_details, authorize, refuse
from zenith_site.common.errors import RateLimitedError
from zenith_site.common.pages import answer, render_page, wants_fragments

#: The fragments that depend on the period that the Overview shows, and the dead letters, which no socket pushes.
FRAGMENTS: Final = [f"overview/_{name}.html" for name in ("head", "succeeded", "outcomes", "load", "letters")]
#: Those of the Overview of one application, which no socket pushes: it is requested again every few seconds.
NARROWED_FRAGMENTS: Final = [
    "applications/_counters.html", "overview/_head.html", "overview/_succeeded.html", "overview/_outcomes.html",
    "overview/_letters.html", "overview/_narrowed_load.html", "overview/_narrowed.html",
]  # fmt: skip


@require_safe
@narrowed()
def overview(request: HttpRequest) -> HttpResponseBase:
    """Show the current state, live: of all applications, or of the one in the query.

    Who may not see all is shown the first that they may.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    if name := request.GET.get("application", ""):
        return _narrowed_overview(request, caller, name)
    if caller.applications is not None:  # its figures are of all applications
        name = first_name(caller.applications)
        return redirect(overview_url(name) if name else "tasks:list")
    # The socket pushes what is the same for everybody, so an open page requests only the rest.
    context = outcomes_context(request) if wants_fragments(request) else {**overview_context(), **outcomes_context(request)}
    return render_page(request, "overview/overview.html", context, fragments=FRAGMENTS)


def _narrowed_overview(request: HttpRequest, caller: Caller, name: str) -> HttpResponseBase:
    """Show the current state of one application. Raises Http404."""
    application = Application.named(name) if caller.sees(name) else None
    if application is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    tasks = TaskFilter(application=name, limit=STREAM_LENGTH).page(lines=True, unmasked=caller.may(OPERATE)).tasks
    context = {
        "application": application,
        "one_only": caller.applications is not None,
        "counters": counters(status_counts_in(name), name),
        "workers": workers_of(application),
        "tasks": tasks,
        **application_context(request, name, kept={"application": name}),
    }
    return render_page(request, "overview/narrowed.html", context, fragments=NARROWED_FRAGMENTS)


@require_POST
def run(request: HttpRequest) -> HttpResponse:
    """Dispatch ten sample tasks."""
    caller = authorize(request, DISPATCH)
    try:
        limits.count_trigger(caller)
    except RateLimitedError as error:
        refuse(request, str(error), HTTPStatus.TOO_MANY_REQUESTS)
        messages.info(request, rate_limit_message(error))
        return answer(request, "tasks:overview", status=429, headers={"Retry-After": str(error.retry_after)})
    batch = dispatch(Dispatch(), Origin.of(caller, "page"))
    audit_details(request, tasks=len(batch.ids), batch=str(batch.batch_id))
    messages.success(request, f"{len(batch.ids)} tasks dispatched.")
    return answer(request, "tasks:overview")


def rate_limit_message(error: RateLimitedError) -> str:
    """Return a message that says when the caller can dispatch again; static/js/page.js counts the seconds down."""
    return format_html(
        "You can dispatch {} times in {} s. Nothing was dispatched. Try again in "
        '<span data-countdown aria-live="off">{}</span> s.',
        error.limit, error.window, error.retry_after,
    )  # fmt: skip
