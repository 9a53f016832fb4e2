"""The Overview page, and its button that dispatches ten sample tasks."""

from http import HTTPStatus
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.web.application_switch import narrowed
from tasks_app.web.context import outcomes_context, overview_context
from zenith_site.common import limits
from zenith_site.common.callers import DISPATCH, VIEW, Shows, audit_details, authorize, refuse
from zenith_site.common.errors import RateLimitedError
from zenith_site.common.pages import answer, render_page, wants_fragments

#: The fragments that depend on the period that the Overview shows, and the dead letters, which no socket pushes.
FRAGMENTS: Final = [f"overview/_{name}.html" for name in ("head", "succeeded", "outcomes", "load", "letters")]


@require_safe
@narrowed(leads_to="tasks:application")
def overview(request: HttpRequest) -> HttpResponse:
    """Show the current state, live."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    if caller.applications is not None:  # its figures are of all applications
        return redirect("tasks:list")
    # The socket pushes what is the same for everybody, so an open page requests only the rest.
    context = outcomes_context(request) if wants_fragments(request) else {**overview_context(), **outcomes_context(request)}
    return render_page(request, "overview/overview.html", context, fragments=FRAGMENTS)


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
